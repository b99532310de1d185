"""How German, Spanish and French tell who somebody is, and ask about the present. English has its
own rules in ``cacheable``, which this follows: what identifies somebody, not the word for it; what
asks about the present, not what tells when something happened to the asker.

Patterns are matched against text in lower case without accents (``plainly``), and their work is
linear in it.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

__all__ = ["TONGUES", "Tongue", "plainly"]


class Tongue(NamedTuple):
    """One language."""

    told: re.Pattern[str]
    """Says who the writer is."""
    own: re.Pattern[str]
    """Asks for what is the writer's alone."""
    present: re.Pattern[str]
    """Asks about the present, whatever else is said."""
    when: re.Pattern[str]
    """Names the present; it counts in sentences without an ``asker``."""
    asker: re.Pattern[str]


def plainly(lower: str) -> str:
    """Text in lower case, without accents."""
    if lower.isascii():
        return lower
    apart = unicodedata.normalize("NFKD", lower.replace("ß", "ss").replace("\u2019", "'"))
    return "".join(char for char in apart if not unicodedata.combining(char))


_TWO = r"(?:\w{1,40} ){0,2}"
_VALUE = r"(?: :|:)? ?\S{0,24}\d"


def _compiled(told: str, own: str, present: str, when: str, asker: str) -> Tongue:
    whole = (told, own, present, rf"(?:{when})\b", rf"(?:{asker})\b")
    parts = (rf"\b(?:{part})" for part in whole)
    return Tongue(*(re.compile(part) for part in parts))


TONGUES: dict[str, Tongue] = {
    "de": _compiled(
        told=(
            r"mein (?:voller |ganzer )?name (?:ist|lautet) "
            r"(?!(?:nicht|falsch|noch|schon|jetzt|nun|auf|in|im|zu|so|anders|verkehrt|geandert|"
            r"unvollstandig|der|die|das|ein|eine)\b)\w|"
            r"ich heisse (?!(?:nicht|jetzt|nun|anders)\b)\w|ich bin \d{1,3} jahre|"
            rf"meine? {_TWO}(?:adresse|anschrift|nummer|\w{{1,24}}nummer|iban|pin|geburtsdatum|"
            rf"passwort|kennwort) (?:ist|lautet){_VALUE}|"
            rf"ich (?:bin|wurde) (?:am|im) {_TWO}\d\S{{0,12}} {_TWO}geboren|"
            r"bei mir wurden? (?:\w{1,40} ){0,4}(?:diagnostiziert|festgestellt)\b"
        ),
        own=(
            r"wie (?:hoch )?ist mein kontostand|"
            r"wo (?:ist|bleibt) meine? (?:paket|bestellung|lieferung|sendung)\b"
        ),
        present=(
            r"wie (?:ist|wird|war) das wetter\b|wie spat ist es\b|wie viel uhr\b|"
            r"(?:welcher|welches|welchen) (?:tag|datum) (?:ist|haben)\b|"
            rf"(?:aktuelle|derzeitige|heutige|neueste|jungste|letzte)[rsnm]? {_TWO}(?:wetter|"
            r"temperatur|nachrichten|meldungen|preise?|kurse?|stand|version|zinsen|zinssatz|"
            r"prasident|prasidentin|kanzler|kanzlerin|bundeskanzler|bundeskanzlerin|chef|chefin|"
            r"ergebnisse?|tabelle)\b|"
            rf"wer ist (?:der |die )?{_TWO}(?:prasident|prasidentin|bundeskanzler|bundeskanzlerin|"
            r"kanzler|kanzlerin|papst|konig|konigin|premierminister|premierministerin|"
            r"burgermeister|burgermeisterin|weltmeister)\b|"
            r"wie steht (?:der|die) (?:dax|aktie|kurs|bitcoin)\b|"
            r"(?:hat|haben|ist|sind) (?:\w{1,40} ){1,4}(?:jetzt|gerade) (?:geoffnet|offen|auf)\b"
        ),
        when=(
            r"heute|gestern|heute abend|momentan|derzeit|zurzeit|zur zeit|gerade jetzt|aktuell|"
            r"diese (?:woche|nacht)|diesen (?:monat|sommer|winter)|dieses (?:jahr|wochenende)"
        ),
        asker=r"ich|mein|meine|meinen|meinem|meiner|mir|mich|wir|unser|unsere|unseren|uns",
    ),
    "es": _compiled(
        told=(
            r"mi nombre (?:completo )?es (?!(?:incorrecto|erroneo|el|la|un|una|muy|demasiado|"
            r"distinto|diferente)\b)\w|me llamo (?!(?:como|igual)\b)\w|"
            r"tengo \d{1,3} anos(?! de (?!edad\b))|"
            r"naci (?:el|en) \w|"
            rf"mi {_TWO}(?:direccion|numero|telefono|dni|nie|nif|contrasena|clave|cuenta|iban|pin|"
            rf"tarjeta|fecha de nacimiento)(?: de \w{{1,24}})? es{_VALUE}|"
            r"me (?:han diagnosticado|diagnosticaron)\b"
        ),
        own=(r"cual es mi saldo\b|cuanto saldo tengo\b|donde esta mi (?:pedido|paquete|envio)\b"),
        present=(
            r"que tiempo (?:hace|hara|hizo)\b|que hora es\b|que (?:dia|fecha) es\b|"
            r"cual es la (?:hora|fecha|temperatura)\b|pronostico del tiempo\b|"
            r"(?:ultimas|recientes) noticias\b|"
            r"(?:precio|tipo de cambio|cotizacion|presidente|presidenta|gobierno|version|director|"
            r"situacion|tasa|temperatura|record) (?:\w{1,24} ){0,2}actual\b|actual (?:presidente|"
            r"presidenta|rey|papa|primer ministro|gobierno|director|precio)\b|"
            rf"quien es (?:el |la )?{_TWO}(?:presidente|presidenta|papa|rey|reina|primer ministro|"
            r"alcalde|alcaldesa|campeon del mundo)\b|esta(?:n)? abiert[oa]s? ahora\b"
        ),
        when=(
            r"hoy|ayer|(?<!la )manana|ahora mismo|actualmente|en este momento|hoy en dia|"
            r"esta (?:noche|semana|tarde)|este (?:mes|ano|fin de semana)"
        ),
        asker=(
            r"yo|mi|mis|me|nos|nuestro|nuestra|nuestros|nuestras|puedo|tengo|quiero|necesito|debo|"
            r"podemos|tenemos|he|pago|pierdo|voy|estoy|uso|hago|llego|soy"
        ),
    ),
    "fr": _compiled(
        told=(
            r"mon nom (?:complet )?est (?!(?:faux|incorrect|errone|mal|le|la|un|une|trop|pas|"
            r"different)\b)\w|je m'appelle (?!(?:comment|pareil)\b)\w|"
            r"j'ai \d{1,3} ans(?! d[e'])|je suis nee? (?:le|en) \w|"
            rf"m(?:on|a) {_TWO}(?:adresse|numero|telephone|mot de passe|code|iban|"
            rf"date de naissance)(?: de \w{{1,24}})? est(?: le| la)?{_VALUE}|"
            r"on m'a diagnostique"
        ),
        own=r"quel est mon solde\b|ou est (?:mon|ma) (?:colis|commande|livraison|paquet)\b",
        present=(
            r"quel temps (?:fait|fera|faisait)\b|quelle heure est\b|quel jour (?:sommes|est)\b|"
            r"quelle est la (?:date|temperature|meteo)\b|la meteo (?:a|de|du|pour)\b|"
            r"dernieres? (?:nouvelles|actualites|infos)\b|"
            r"(?:prix|cours|taux|president|presidente|gouvernement|situation|version|temperature|"
            r"record) (?:\w{1,24} ){0,2}actuel(?:le)?s?\b|actuel(?:le)?s? (?:president|presidente|"
            r"roi|pape|premier ministre|gouvernement|prix|pdg)\b|"
            rf"qui est (?:le |la |l')?{_TWO}(?:president|presidente|premier ministre|pape|roi|"
            r"reine|pdg|maire|champion du monde)\b|"
            r"(?:est|sont)(?:-\w{1,8})? (?:\w{1,40} ){0,3}ouverte?s? maintenant\b"
        ),
        when=(
            r"aujourd'hui|hier|demain|en ce moment|actuellement|ce soir|de nos jours|"
            r"cette (?:semaine|annee|nuit)|ce (?:mois|week-end|matin)"
        ),
        asker=r"je|j'ai|j'aimerais|mon|ma|mes|moi|nous|notre|nos|me|m'",
    ),
}
