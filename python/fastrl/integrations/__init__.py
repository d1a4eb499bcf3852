"""fastrl inside other people's trainers. Nothing in fastrl imports these modules."""
