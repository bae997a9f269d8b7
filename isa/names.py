"""Names of ``isa.toml`` as generated files spell them."""


def camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.lower().split("_"))
