"""Words to render: real-looking ones by rule, pronounceable ones by syllable, random strings.

No reader can tell ``O`` from ``0`` or ``l`` from ``I`` in a sans-serif font, so a string that
mixes cases or digits at random leaves those characters out; words and plain numbers keep them.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

MAX_LENGTH = 20  # characters; the recognisers here emit at most 25, fewer with doubled letters
_LOOKALIKES = frozenset("0oO1iIlL")
_CLEAR = "".join(c for c in string.ascii_letters + string.digits if c not in _LOOKALIKES)
_KINDS = ("stem", "syllables", "digits", "random letters", "random mix")
_KIND_SHARES = (0.5, 0.2, 0.1, 0.1, 0.1)
_ONSET_LIST = """
b c d f g h j k l m n p r s t v w y z qu x
bl br ch cl cr dr fl fr gl gr pl pr sc sh sk sl sm sn sp st str sw th tr wh
"""
_VOWEL_LIST = "a e i o u a e i o ai ea ee oa oo ou ie y"
_CODA_LIST = "b ck d g l ll m n n nd ng nt p r r rd rt s ss st t x z ch sh"
_ENDING_LIST = "s ed er ing ly y able ment ness ful land ton shop man ville"
_STEM_LIST = """
able acid actor adult after agent air album all alpha amber angel ankle apple april arch arena arm
art asia atlas august avenue away baby back bacon bag bake ball bamboo band bank bar barn base
basin basket bath bay beach bear beauty bed beef beer bell best beyond bicycle big bill bingo bird
black blue board boat body bold book boot border boss bottle box boy brain branch brand bread
brick bridge bright bronze brook brother brown buffalo build bull burger bus business butter cabin
cable cafe cake call calm camel camp canal candy cape captain car card care cargo castle cat
caution center century chain chair change charge cheap check cheese chef cherry chicken chief
child china choice church cinema circle city classic clean clear clinic clock close cloud club
coach coast coffee cold college color comfort common company copper coral corner cotton country
court cover crazy cream credit cross crown crystal cycle daily dance danger dark data day deal
dean deep delta dental desert design desk detour dining dinner direct disco discount dish doctor
dog dollar door double down dragon dream drink drive dry duck dust eagle early earth east easy
echo edge egg eight electric elephant empire energy engine enjoy enter entry equal escape event
every exit express extra eye fabric face factory fair falcon fall family famous farm fashion fast
father feather fence festival field fifty film final finance fine fire first fish fitness five
flag flash flat fleet flight floor flower fly food foot forest fork fortune forward foundation
four fox frame free fresh friday friend frog front fruit full funny future galaxy game garden gas
gate general gentle ghost giant gift ginger girl glass global glory goat gold golf good grand
grape grass gravity great green grill ground group guard guest guide guitar gym habit hair half
hall hammer hand happy harbor hard harvest hat hawk health heart heat heaven heavy helmet help
herb hero high hill history hobby holiday home honey hope horizon horse hospital hot hotel hour
house human hundred ice icon idea image impact index india inn insect inside island ivory jacket
jam january japan jazz jewel join joker journal juice july jump junction jungle junior jury just
keep kettle key kid kind king kitchen kite knife knight lab lady lake lamp land lane large laser
last laundry law leaf league learn leather legend lemon level liberty library life light lily lime
limit line lion liquid list little live local lock logic london long lotus love lucky lunch
machine magic mail main major mall mango map maple marble march marine market master match matrix
meadow meat media medal melon member memory menu metal metro middle mile milk mill mind mini mint
mirror mobile model modern moment money monkey moon morning mother motor mountain mouse movie
museum music nail name nation native nature navy neck needle net never new news next night nine
noble noise noodle north nose notice number nurse oak object ocean office oil olive only open
opera option orange orbit order organic origin outlet oven owl oxygen pacific paint palace palm
panda paper paradise park parking party pass past path pattern peace peach pearl pen people pepper
perfect pet phone photo piano pilot pine pink pizza place planet plant plastic plate play plaza
please plus pocket point polar police polo pool popular port post potato pottery power premium
present press price pride prime prince print prize public pulse pump pure purple push quality
quarter queen quick quiet quiz rabbit race radio rail rain ranch rapid raven ready real record red
regent region relax rent repair rescue rest retail rice rich ride right ring river road rock
rocket roof room root rose round royal rubber ruby rule run safe sail saint salad sale salmon
salon salt sand sandwich saturn sauce save school science screen sea season second secret security
senior seven shade shadow shark sharp shell shine ship shirt shoe shop short show side signal
silent silk silver simple single six sky sleep slow smart smile smoke snow soap soccer social soft
solar solid song soul sound soup south space spark speed spice spirit sport spring square stadium
staff stage star state station steak steam steel step stone stop store storm story street strong
studio style sugar summer sun super supply surf sushi sweet swim system table tango tank taste
taxi tea team temple tennis tent theater think thirty three thunder ticket tiger time tire toast
tobacco today tomato top total touch tour tower town toy track trade traffic trail train travel
treasure tree triple truck trust tulip tunnel turbo turn twelve twin two ultra uncle union unique
united unity update urban useful valley value vanilla vegan velvet venture venus victory video
view village vine vintage violet vision visit vista voice volcano wagon walk wall warm wash watch
water wave way wealth weather web week west whale wheel white wild will wind window wine wing
winter wire wise wolf woman wonder wood word work world yacht yard year yellow yes yoga young
zebra zero zone zoo
"""
_ONSETS = tuple(_ONSET_LIST.split())
_VOWELS = tuple(_VOWEL_LIST.split())
_CODAS = ("", "", "", *_CODA_LIST.split())
_ENDINGS = ("", "", "", "", *_ENDING_LIST.split())
_STEMS = tuple(_STEM_LIST.split())
_COMPOUND_SHARE = 0.1
_CASE_SHARES = (0.4, 0.3, 0.3)


def random_word(rng: np.random.Generator) -> str:
    """Return a word of 1..20 letters and digits, mixed case; short ones are more frequent.

    Args:
        rng: The only source of chance: equal generators give equal words.

    Returns:
        ASCII letters and digits; the label of the image it is drawn in.
    """
    kind = _KINDS[rng.choice(len(_KINDS), p=_KIND_SHARES)]
    if kind == "stem":
        return _with_case(_stem(rng), rng)
    if kind == "syllables":
        return _with_case(_pronounceable(rng), rng)
    if kind == "digits":
        return _characters(string.digits, rng)
    if kind == "random letters":
        return _with_case(_characters(string.ascii_lowercase, rng), rng)
    return _characters(_CLEAR, rng)


def _stem(rng: np.random.Generator) -> str:
    """Return a word of the list, sometimes compounded, often with an ending."""
    word = _pick(_STEMS, rng)
    if rng.random() < _COMPOUND_SHARE:
        word += _pick(_STEMS, rng)
    return (word + _pick(_ENDINGS, rng))[:MAX_LENGTH]


def _pronounceable(rng: np.random.Generator) -> str:
    """Return one to four syllables."""
    count = 1 + int(rng.binomial(3, 0.4))
    parts = (_pick(_ONSETS, rng) + _pick(_VOWELS, rng) + _pick(_CODAS, rng) for _ in range(count))
    return "".join(parts)[:MAX_LENGTH]


def _characters(alphabet: str, rng: np.random.Generator) -> str:
    """Return 1..20 characters of ``alphabet``, most often three to six."""
    length = min(MAX_LENGTH, 1 + int(rng.negative_binomial(4, 0.48)))
    return "".join(alphabet[i] for i in rng.integers(0, len(alphabet), length))


def _with_case(word: str, rng: np.random.Generator) -> str:
    """Return ``word`` in lower, upper or title case."""
    cases = (word, word.upper(), word.capitalize())
    return cases[rng.choice(len(cases), p=_CASE_SHARES)]


def _pick(items: tuple[str, ...], rng: np.random.Generator) -> str:
    """Return one of ``items``."""
    return items[int(rng.integers(len(items)))]
