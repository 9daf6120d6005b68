"""Scripts that are written without spaces between words: Chinese, Japanese, Thai, Lao, Khmer, Burmese.

Patterns for the regex package with regex.V1.
"""

SCRIPTS = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"  # for a character class
LONG_VOWEL = "ー"  # of both kana, and by Unicode of no script
LETTER = rf"[{SCRIPTS}--\p{{M}}--\p{{Nd}}--\p{{P}}]"
FOLLOWING = rf"[\p{{M}}\p{{Cf}}{LONG_VOWEL}ｰ]*"  # what belongs to the letter before: marks, joiners, long vowels
