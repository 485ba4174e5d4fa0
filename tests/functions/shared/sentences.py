"""What a sentence for a cardholder looks like."""


def is_well_formed(sentence: str) -> bool:
    return (
        20 <= len(sentence) <= 220
        and sentence[0].isupper()
        and sentence.endswith(".")
        and sentence.isascii()
        and "  " not in sentence
        and ".." not in sentence
    )
