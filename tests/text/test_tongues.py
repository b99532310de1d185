"""Personal and time-bound wording in German, Spanish and French, and what English missed."""

from __future__ import annotations

import pytest

from semcache_async.text.cacheable import is_personal, is_time_bound

PERSONAL = (
    "I am Ann from Leeds, where is my parcel?",
    "What is my balance?",
    "what's my account balance",
    "Mein Name ist Anna Schulz, wo bleibt die Lieferung?",
    "Ich heiße Peter",
    "Ich bin 34 Jahre alt, darf ich ein Konto eröffnen?",
    "meine Kundennummer lautet 123456",
    "Ich wurde am 3. Mai 1990 geboren",
    "Bei mir wurde letzte Woche Diabetes diagnostiziert, darf ich reisen?",
    "Wo ist mein Paket?",
    "Wie hoch ist mein Kontostand?",
    "Mi nombre es Ana y vivo en Sevilla",
    "Me llamo Pedro",
    "tengo 34 años, ¿puedo abrir una cuenta?",
    "tengo 34 años de edad",
    "Mi número de cliente es 123456",
    "¿Dónde está mi pedido?",
    "¿Cuál es mi saldo?",
    "Mon nom est Anne Durand",
    "Je m\u2019appelle Pierre",
    "J'ai 34 ans, puis-je ouvrir un compte ?",
    "Mon numéro de client est le 123456",
    "Où est mon colis ?",
    "quel est mon solde",
)
NOT_PERSONAL = (
    "I am from Leeds, which bank is nearest?",
    "How do I check my balance?",
    "Mein Name ist falsch geschrieben, was tun?",
    "Wie ändere ich meinen Namen?",
    "Meine PIN ist gesperrt",
    "Ich bin umgezogen, wen muss ich benachrichtigen?",
    "Wo finde ich meine Kundennummer?",
    "Bei mir wurde das Paket nicht geliefert, was tun?",
    "¿Tengo 3 años de garantía?",
    "J'ai 2 ans de garantie, que couvre-t-elle ?",
    "J'ai 10 ans d'expérience, quel métier choisir ?",
    "Mi nombre es incorrecto en la tarjeta",
    "¿Cómo cambio mi nombre?",
    "Mi tarjeta es nueva y no funciona",
    "¿Dónde encuentro mi número de cliente?",
    "Mon nom est mal écrit sur la carte",
    "Comment changer mon adresse ?",
    "Mon code est bloqué",
    "Je suis né quelque part, chanson de qui ?",
)
TIME_BOUND = (
    "Who is the president of France?",
    "who's the current CEO of Acme",
    "Is the store open now?",
    "Wie ist das Wetter heute?",
    "Wie spät ist es?",
    "Wer ist der Bundeskanzler?",
    "Was sind die neuesten Nachrichten?",
    "Was kostet Gold heute?",
    "Hat der Laden jetzt geöffnet?",
    "¿Qué tiempo hace en Madrid?",
    "¿Qué hora es?",
    "¿Quién es el presidente de Chile?",
    "¿Cuánto cuesta el oro hoy?",
    "¿Cuál es el tipo de cambio actual?",
    "Quel temps fait-il à Lyon ?",
    "Quelle heure est-il ?",
    "Qui est le président de la France ?",
    "Combien coûte l'or aujourd\u2019hui ?",
    "Quel est le taux actuel ?",
)
NOT_TIME_BOUND = (
    "How long was Lincoln president?",
    "How does one become a mayor?",
    "How do I open a savings account?",
    "Wie wird man Bundeskanzler?",
    "Kann ich heute noch kündigen?",
    "Meine Karte wurde gestern abgelehnt",
    "Wie entsteht Wetter?",
    "Was heißt morgens auf Englisch?",
    "¿Qué pasa si pago la cuota este mes?",
    "¿A qué hora sale el ferry por la mañana?",
    "Mi tarjeta fue rechazada ayer",
    "¿Cómo se elige al presidente?",
    "Ma carte a été refusée hier",
    "Puis-je annuler ? Je pars demain.",
    "Comment élit-on le pape ?",
)


@pytest.mark.parametrize("prompt", PERSONAL)
def test_personal(prompt: str) -> None:
    assert is_personal(prompt)


@pytest.mark.parametrize("prompt", [*NOT_PERSONAL, *TIME_BOUND, *NOT_TIME_BOUND])
def test_not_personal(prompt: str) -> None:
    assert not is_personal(prompt)


@pytest.mark.parametrize("prompt", TIME_BOUND)
def test_time_bound(prompt: str) -> None:
    assert is_time_bound(prompt)


@pytest.mark.parametrize("prompt", [*NOT_TIME_BOUND, *NOT_PERSONAL])
def test_not_time_bound(prompt: str) -> None:
    assert not is_time_bound(prompt)
