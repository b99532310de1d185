"""Prompts that ask for something new each time: a joke, a password, a random number.

Two askers of these want two answers. A prompt asks so where it tells somebody to make, pick or tell
(politeness aside) what is new by its nature, or says that it is to be random or new. A question
about such things ("How do I generate a random number in Python?") does not. One word list for each
language; scripts without spaces by what they contain.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["LANGUAGES", "Wording", "asks_anew"]

_READ, _WORDS = 400, 48
"""Characters that are looked at, and words."""
_WORD = re.compile(r"[^\W_]+")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


class Wording(NamedTuple):
    """How one language asks for something new. Words are in lower case."""

    polite: frozenset[str]
    """What may come before the verb."""
    wanting: frozenset[str]
    """Of those, what stands for a verb: "I need a strong password"."""
    making: frozenset[str]
    """Verbs that ask for a thing to be made, picked or told."""
    inventing: frozenset[str]
    """Verbs that ask for something new whatever their object is."""
    things: frozenset[str]
    """What is new by its nature each time."""
    creations: frozenset[str]
    """What is new if it is said to be (``renewed``)."""
    renewed: frozenset[str]
    at_random: frozenset[str]
    """What makes anything new."""
    about: frozenset[str]
    """What tells that it is explained or programmed rather than done."""


LANGUAGES: dict[str, Wording] = {
    "en": Wording(
        polite=_set(
            "please kindly hey hi hello ok okay so now just can could would will you i we need "
            "want d like to have me us let randomly"
        ),
        wanting=_set("need"),
        making=_set(
            "generate create make give tell write pick choose select draw roll flip toss throw say "
            "suggest produce compose show get spin deal name reorder"
        ),
        inventing=_set("invent shuffle randomize randomise surprise"),
        things=_set(
            "uuid uuids guid guids password passwords passphrase passphrases joke jokes riddle "
            "riddles pun puns coin dice die fake dummy invite coupon nonce"
        ),
        creations=_set(
            "idea ideas poem haiku limerick story stories song lyrics name names nickname username "
            "slogan tagline title recipe quote fact facts prompt key token code suggestion "
            "suggestions example workout challenge"
        ),
        renewed=_set("new another different fresh original unique more else again nobody brand"),
        at_random=_set("random randomly raffle lottery surprise"),
        about=_set(
            "definition define meaning explanation explain function script program python java "
            "javascript typescript sql bash regex excel query class method algorithm library "
            "steps instructions message"
        ),
    ),
    "de": Wording(
        polite=_set(
            "bitte hallo hey ok mal kannst könntest könnten können sie du ich brauche möchte"
        ),
        wanting=_set("brauche möchte"),
        making=_set(
            "erzeuge erzeugen generiere generieren erstelle erstellen mach mache gib geben nenne "
            "erzähl erzähle erzählen schreib schreibe wähle zieh ziehe würfle würfel wirf sag sage "
            "schlag"
        ),
        inventing=_set("erfinde erfind mische überrasche überrasch"),
        things=_set(
            "uuid passwort passwörter kennwort witz witze rätsel münze würfel testdaten "
            "einladungscode gutscheincode"
        ),
        creations=_set("idee ideen gedicht geschichte name namen slogan titel rezept zitat spruch"),
        renewed=_set("neu neue neuen neues anderen andere anderes weiteren weitere noch"),
        at_random=_set("zufällig zufällige zufälligen zufälliges zufallszahl zufall"),
        about=_set("python java javascript sql funktion skript bedeutung definition erkläre konto"),
    ),
    "es": Wording(
        polite=_set("por favor hola oye puedes podrías podría necesito quiero me"),
        wanting=_set("necesito quiero"),
        making=_set(
            "genera generar crea crear dame dime cuéntame haz elige escoge escribe tira lanza saca "
            "sugiere sugiéreme"
        ),
        inventing=_set("inventa invéntate baraja sorpréndeme mezcla"),
        things=_set("uuid contraseña contraseñas chiste chistes adivinanza moneda dado dados"),
        creations=_set("idea ideas poema historia nombre nombres eslogan título receta frase"),
        renewed=_set("nuevo nueva nuevos nuevas otro otra diferente distinto distinta más"),
        at_random=_set("aleatorio aleatoria aleatorios azar aleatoriamente"),
        about=_set("python java javascript sql función script significado definición cuenta"),
    ),
    "fr": Wording(
        polite=_set(
            "s il te vous plaît svp bonjour salut peux pouvez pourrais tu j ai besoin d je"
        ),
        wanting=_set("besoin"),
        making=_set(
            "génère générer générez crée créer créez donne donnez dis raconte racontez fais "
            "choisis écris tire tirez pioche lance jette propose"
        ),
        inventing=_set("invente inventez mélange surprends"),
        things=_set("uuid blague blagues devinette pièce dé dés"),
        creations=_set(
            "idée idées poème histoire nom noms slogan titre recette citation mot passe"
        ),
        renewed=_set(
            "nouveau nouvelle nouvelles autre autres différent différente encore sûr fort"
        ),
        at_random=_set("aléatoire aléatoires hasard aléatoirement"),
        about=_set("python java javascript sql fonction script signification définition compte"),
    ),
}

_UNSPACED = (
    (_set("讲 说 来 给我 再"), _set("笑话 谜语 段子")),
    (_set("生成 创建 给我 随机"), _set("UUID uuid 密码 口令 随机数 邀请码")),
    (_set("抛 掷 抽"), _set("硬币 骰子 一张牌")),
    (_set("して 教えて 言って ください 作って"), _set("面白い話 ジョーク 笑い話 なぞなぞ 冗談")),
    (_set("生成 作って 作成して ください"), _set("パスワードを UUIDを 乱数")),
    (_set("해줘 해주세요 만들어 생성"), _set("농담 비밀번호를 난수 UUID")),
)
"""Where one of each is said. Questions about such things are told apart by ``_ASKED``."""
_ASKED = _set("什么 如何 怎么 为什么 何ですか どう なぜ とは 方法 어떻게 무엇 왜 방법")


def asks_anew(prompt: str) -> bool:
    """Does ``prompt`` ask for something that is to be new each time?"""
    text = prompt[:_READ].lower()
    words = _WORD.findall(text)[:_WORDS]
    if any(_asks(words, language) for language in LANGUAGES.values()):
        return True
    if text.isascii() or any(word in text for word in _ASKED):
        return False
    return any(_holds(text, doing) and _holds(text, things) for doing, things in _UNSPACED)


def _asks(words: list[str], said: Wording) -> bool:
    start, wants = 0, False
    while start < len(words) and words[start] in said.polite:
        if words[start] in said.inventing:
            break
        wants = wants or words[start] in said.wanting
        start += 1
    if start == len(words):
        return False
    verb, rest = words[start], set(words[start:])
    if verb in said.inventing:
        return rest.isdisjoint(said.about)
    orders = verb in said.making
    if not (orders or wants) or not rest.isdisjoint(said.about):
        return False
    if not rest.isdisjoint(said.things):
        return True
    if not orders:
        return False
    if not said.at_random.isdisjoint(words):
        return True
    return not rest.isdisjoint(said.creations) and not rest.isdisjoint(said.renewed)


def _holds(text: str, parts: frozenset[str]) -> bool:
    return any(part in text for part in parts)
