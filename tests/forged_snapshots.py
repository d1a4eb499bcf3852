"""Snapshots that somebody has changed."""


def sealed(data):
    """The bytes with the checksum made right, as an attacker would."""
    from fastrl.reference.envs import mix64

    def hash_bytes(part):
        value = mix64(len(part))
        for i in range(0, len(part), 8):
            value = mix64(value ^ int.from_bytes(part[i : i + 8], "little"))
        return value

    zeroed = bytearray(data[:80])
    zeroed[72:80] = bytes(8)
    checksum = mix64(hash_bytes(bytes(zeroed)) ^ hash_bytes(data[80:]))
    return bytes(zeroed[:72]) + checksum.to_bytes(8, "little") + data[80:]
