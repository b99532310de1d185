"""Words by kind, for English first, German, Spanish and French next, and the commonest words of
others. They are lists of what a dictionary would name under each kind, and nobody's data set.

A line of a table is ``name: word word ...``; an underscore stands for a space.
"""

from __future__ import annotations

__all__ = [
    "ANTONYMS",
    "CONTRACTIONS",
    "COORDINATORS",
    "CURRENCIES",
    "FUNCTION",
    "KINDS",
    "KIND_WORDS",
    "MONTHS",
    "NUMBERS",
    "ORDINALS",
    "PHRASES",
    "SCALES",
    "SYNONYMS",
    "UNITS",
    "UNITS_BY_CASE",
    "UNSPACED_ANTONYMS",
    "UNSPACED_HARMLESS",
    "UNSPACED_NEGATION",
    "UNSURE_DAYS",
    "UNSURE_MONTHS",
    "WEEKDAYS",
]


def _table(text: str) -> dict[str, str]:
    """Each word of a table and the name of its line."""
    found: dict[str, str] = {}
    for line in text.strip().splitlines():
        name, _, words = line.partition(":")
        for word in words.split():
            found[word.replace("_", " ")] = name.strip()
    return found


def _groups(text: str) -> list[tuple[str, ...]]:
    return [
        tuple(word.replace("_", " ") for word in line.split())
        for line in text.strip().splitlines()
    ]


FUNCTION = frozenset(
    """
a an the this that these those my mine your yours his her hers its our ours their theirs i me you
u he him she it we us they them myself yourself itself ourselves themselves someone somebody anyone
anybody something anything one's one's-own am is are was were be been being do does did done doing
has have had having can could will would shall should may might must ought let lets got
of to in on at for with by from about into onto as than and or but if then so because while also
too just really actually basically simply only-just very quite there here which what who whom whose
when where why how whether that's ok okay please pls plz thanks thank thx hi hello hey dear sir
madam kindly sorry excuse ty cheers greetings good-morning well now-then oh um uh
any some such own same-as else ever either per via upon during within over under out off up down
through across around toward towards
way ways method methods manner means steps step procedure process possible possibly able
know tell explain describe want wants wanted need needs needed like wish wondering wonder help
helped understand question questions quick advice guidance instructions info information detail
details exactly correct correctly properly right proper proceed supposed try trying tried
go going use using used
et le la les l un une des du de d au aux en dans sur pour par avec sans-doute et ou mais si que qui
quoi dont ce cet cette ces mon ma mes ton ta tes son sa ses notre nos votre vos leur leurs je j tu
il elle on nous vous ils elles me m te t se s y est sont suis es été être etait était sera ai as a
avons avez ont avoir fait faire faut faudrait ai-je aller besoin peut peux puis-je puis pouvez peuvent peuvent peux-tu pouvons pourrait pourrais pourriez pouvoir dois
doit devoir voudrais veux svp s'il plaît plait merci bonjour salut comment pourquoi quand où quel
quelle quels quelles combien expliquer explique expliquez dire dites dis moi toi c ça cela quelque
der die das den dem des ein eine einen einem einer eines und oder aber wenn falls dass ob als wie
was wer wem wen wann wo warum wieso weshalb welche welcher welches welchen welchem ich du er sie es
wir ihr mich mir dich dir ihm ihn uns euch ihnen mein meine meinen meinem meiner meines dein deine
deinen deinem deiner unser unsere unseren unserem unserer euer eure euren eurem ihre ihren ihrem
ihrer sein seine seinen seinem seiner ist sind bin bist war waren wird werden wurde hat habe haben
hatte kann kannst können koennen könnt könnte könnten koennte muss müssen soll sollte darf dürfen
möchte möchten will wollen man bitte danke hallo mal denn doch eigentlich zu zum zur im in am an auf
bei für fuer von vom mit nach um aus durch hier da dort gibt geht tun machen mache macht möglich brauche braucht brauchen benötige benötigt benötigen funktioniert
erkläre erklären sagen sag so auch noch etwas dies diese dieser dieses diesen folgende folgenden
el los las lo un una unos unas y o u e del al en con por para que qué cómo como cuándo cuando dónde
donde cuál cual cuáles quién quien cuánto cuanto cuánta cuántos por-qué mi mis tu tus su sus nuestro
nuestra yo tú él ella nosotros ustedes usted me te se nos le les es son está están estoy ser estar
fue hay he ha han haber puedo puedes puede pueden podemos podría podrías podrías poder debo debe deben tengo tiene tener
quiero quisiera necesito hago hacer haga hace haces falta necesita necesitas debería dónde está favor gracias hola si-es este esta estos estas ese esa
manera forma pasos explica explicar decir dime di
il lo gli della del dei come posso puoi mio mia per favore e o não nao o os as do da dos das no na
nos nas um uma eu meu minha como posso pode para por favor het een mijn ik kan hoe van wat en je
jak mogę mój moja moje mohu můj jaki jaka w na z do i się se si как мне мой моя мое мою могу можно
я в на и с по для это у меня ли что пожалуйста nasıl benim için bir ve mı mi làm thế nào của tôi là
có thể hur kan jag min mitt en ett och
""".split()
)
"""Words that carry structure or politeness rather than the subject, in any of the languages."""

CONTRACTIONS = {
    line.split("=")[0].strip(): tuple(line.split("=")[1].split())
    for line in """
isn't = is not
aren't = are not
wasn't = was not
weren't = were not
don't = do not
doesn't = do not
didn't = did not
hasn't = has not
haven't = have not
hadn't = had not
can't = can not
cannot = can not
couldn't = could not
won't = will not
wouldn't = would not
shouldn't = should not
mustn't = must not
needn't = need not
ain't = is not
isnt = is not
arent = are not
wasnt = was not
dont = do not
doesnt = do not
didnt = did not
hasnt = has not
havent = have not
cant = can not
couldnt = could not
wont = will not
wouldnt = would not
shouldnt = should not
whats = what is
what's = what is
hows = how is
how's = how is
wheres = where is
where's = where is
who's = who is
whos = who is
when's = when is
whens = when is
why's = why is
that's = that is
thats = that is
there's = there is
it's = it is
i'm = i am
im = i am
i've = i have
ive = i have
i'd = i would
i'll = i will
you're = you are
you've = you have
you'll = you will
we're = we are
we've = we have
they're = they are
let's = let us
wanna = want to
gonna = going to
gotta = have to
qu'est-ce = que est ce
est-ce = est ce
puis-je = puis je
geht's = geht es
gibt's = gibt es
lässt = lassen
""".strip().splitlines()
}

PHRASES = {
    tuple(line.split(" = ")[0].split()): tuple(line.partition(" = ")[2].split())
    for line in """
no more than = <=at-most
not more than = <=at-most
at most = <=at-most
at the most = <=at-most
up to = <=at-most
maximum of = <=at-most
a maximum of = <=at-most
no later than = <=at-most
no less than = <=at-least
no fewer than = <=at-least
not less than = <=at-least
at least = <=at-least
a minimum of = <=at-least
minimum of = <=at-least
or more = <=at-least
or less = <=at-most
more than = <=more
greater than = <=more
larger than = <=more
bigger than = <=more
higher than = <=more
in excess of = <=more
less than = <=less
fewer than = <=less
smaller than = <=less
lower than = <=less
mehr als = <=more
weniger als = <=less
mindestens = <=at-least
höchstens = <=at-most
maximal = <=at-most
más de = <=more
menos de = <=less
plus de = <=more
moins de = <=less
au moins = <=at-least
au plus = <=at-most
al menos = <=at-least
por lo menos = <=at-least
como máximo = <=at-most
como mínimo = <=at-least
most expensive = dearest
least expensive = cheapest
nobody but = only
no one but = only
not one = none
no longer = not
nicht mehr = not
ne plus = not
ya no = not
not only = only
any longer =
any more =
not any = not
no one = nobody
log in = login
log into = login
logging in = login
logged in = login
sign in = login
sign into = login
signing in = login
log on = login
log out = logout
log off = logout
sign out = logout
logging out = logout
sign up = signup
signing up = signup
set up = setup
setting up = setup
back up = backup
check in = checkin
check out = checkout
top up = topup
turn on = enable
switch on = enable
turning on = enable
switching on = enable
turned on = enable
turn off = disable
switch off = disable
shut off = disable
turning off = disable
switching off = disable
turned off = disable
shut down = shutdown
get rid of = remove
take out = withdraw
find out = learn
figure out = learn
look up = find
carry out = do
pick up = collect
give back = return
send back = return
get back = receive
pay back = repay
call off = cancel
put off = postpone
fill in = complete
fill out = complete
hand in = submit
end up = end
a lot of = many
lots of = many
plenty of = many
a lot = much
a couple of = several
couple of = several
top ups = topup
back ups = backup
or not = or
provided = if
providing = if
assuming = if
as soon as = once
the moment = once
why or why not = why
at all = at
a few = several
as well as = and
as well = also
in order to = to
so as to = to
so that = so
in case = if
as long as = if
provided that = if
even if = <?even-if
even though = although
only if = <?only-if
as soon as = <?once
right now = now
at the moment = now
at present = now
these days = now
nowadays = now
instead of = instead
how come = why
what for = why
for what reason = why
what is the reason = why
what time = <wwhen
at what time = <wwhen
what date = <wwhen
what day = <wwhen
which day = <wwhen
until when = <wtill
how soon = <wwhen
how much = <wmuch
how many = <wcount
how long = <wlong
how often = <woften
how far = <wfar
how old = <wage
how big = <wsize
how tall = <wheight
how heavy = <wweight
what is the price of = <wmuch
what does = what do
do i have to = <!must i
do we have to = <!must we
does one have to = <!must one
i have to do = do
have to do = do
have to = <!must
has to = <!must
need to do = do
is there a way = how
is there any way = how
is there some way = how
any way = how
is it possible = can
would it be possible = can
am i able = can
am i allowed = can
are we allowed = can
is it allowed = can
may i = can i
what is the way = how
what is the best way = best how
what is the right way = how
what is the easiest way = easy how
what are the steps = how
which steps = how
what steps = how
the way to = how to
steps to = how to
instructions for = how
a guide to = how to
what do i do = how
what should i do = how
what can i do = how
what must i do = how
what do you mean by = what is
what is meant by = what is
the meaning of = what is
the definition of = what is
definition of = what is
meaning of = what is
define = what is
mean = what is
means = what is
last name = surname
family name = surname
first name = forename
given name = forename
zip code = postcode
postal code = postcode
post code = postcode
credit card = creditcard
debit card = debitcard
two factor = 2fa
two-factor = 2fa
cell phone = phone
mobile phone = phone
mobile number = phone number
smart phone = phone
bank holiday = holiday
wi fi = wifi
american express = amex
united states = usa
new york city = nyc
new york = nyc
european union = eu
visual studio code = vscode
vs code = vscode
degrees celsius = °c
degree celsius = °c
degrees centigrade = °c
degrees fahrenheit = °f
degree fahrenheit = °f
grad celsius = °c
united kingdom = uk
christmas day = <d-12-25
christmas eve = <d-12-24
new year day = <d-01-01
new year eve = <d-12-31
boxing day = <d-12-26
half a year = 6 months
half an hour = 30 minutes
a fortnight = 2 weeks
a dozen = 12
half a dozen = 6
with out = without
error code = error
bank account = account
a hundred = 100
a thousand = 1000
a million = 1000000
eine million = 1000000
un million = 1000000
un millón = 1000000
12 noon = 12:00
in the morning = am
in the afternoon = pm
in the evening = pm
weekdays = <dweekday
monday to friday = <dweekday
mon to fri = <dweekday
24 hours a day 7 days a week = 24/7
around the clock = 24/7
last week = <dlast-week
next week = <dnext-week
this week = <dthis-week
last month = <dlast-month
next month = <dnext-month
this month = <dthis-month
last year = <dlast-year
next year = <dnext-year
this year = <dthis-year
day before yesterday = <dyesterday2
day after tomorrow = <dtomorrow2
pasado mañana = <dtomorrow2
après demain = <dtomorrow2
first quarter = <dq1
second quarter = <dq2
third quarter = <dq3
fourth quarter = <dq4
fiscal year = fy
first person = <fperson1
second person = <fperson2
third person = <fperson3
press release = <fpress-release
british english = <lbritish
american english = <lamerican
australian english = <laustralian
brazilian portuguese = <lbrazilian
european portuguese = <leuropean-portuguese
castilian spanish = <lspanish
latin american spanish = <llatin-american
mandarin chinese = <lchinese
simplified chinese = <lsimplified
traditional chinese = <ltraditional
explain like i am five = eli5
like i am five = eli5
mph = mi/h
km h = km/h
square metres = m2
square meters = m2
""".strip().splitlines()
    if line.strip() and not line.strip().startswith("#")
}
"""Phrases and what they are read as. A word that begins with ``<`` names a kind (KINDS below by
its sign) and a key."""

KINDS = {"=": "compare", "?": "condition", "w": "question", "!": "must", "d": "date", "f": "format", "l": "language"}

SYNONYMS = _groups(
    """
buy purchase order-in acquire
pay settle
pay payment
permission permit
marry marriage wedding
cost price fee charge rate tariff
cheap inexpensive affordable budget
expensive costly dear pricey
cheapest lowest-priced
fix solve resolve repair troubleshoot mend correct remedy cure-it sort-out
error problem issue trouble fault bug failure glitch
wrong incorrect mistaken
change modify update alter edit adjust amend switch
set configure setup
remove delete erase eliminate clear wipe uninstall-it drop
cancel terminate end stop quit discontinue unsubscribe
stop disable deactivate
enable activate
allow enable
pause suspend
resume continue
barato económico asequible
close shut terminate
begin start commence launch
create make generate build produce
make produce prepare
write draft compose
show display view see list present
see view look watch
find locate search
get obtain receive acquire retrieve fetch gain
give provide supply offer return
send ship dispatch mail transmit
ship shipping deliver delivery shipment dispatch
parcel package packet
order purchase
return refund-item
refund reimbursement reimburse repay money-back
increase raise boost enlarge extend up
reduce decrease lower shrink lessen cut
improve enhance boost better
speed accelerate
fast quick rapid speedy
large big huge
largest biggest maximum
small little tiny
smallest minimum
maximum largest highest max
minimum smallest lowest min
max maximum
min minimum
average mean
advantage benefit pro upside
disadvantage drawback con downside
phone mobile smartphone cellphone telephone handset
photo picture image photograph pic
movie film
computer pc
laptop notebook
tv television telly
email mail e-mail
message text-message
password passcode
pin passcode
account profile
login signin logon
register signup enrol enroll
registration signup enrolment
card creditcard debitcard
bank-account account
employee worker
staff personnel
company firm business organisation organization enterprise
boss manager supervisor
customer client
shop store
job work position employment
doctor physician
medicine medication drug remedy
illness disease sickness
sick ill unwell
ache pain hurt
kid child kiddo
children kids
mom mother mum
dad father
city town
country nation
car automobile vehicle
plane aeroplane airplane flight
trip journey travel
travel trip
holiday vacation
hotel-room room
luggage baggage suitcase bag
airport-transfer transfer
ticket fare
allow permit let
permit allow let
allowed permitted
need require
required needed necessary
want desire
use utilise utilize employ
happen occur
help assist support
support-team support
answer reply respond response
ask enquire inquire
request demand
choose select pick
difference distinction differ
different distinct
same identical equal
similar alike
important essential vital
main primary principal
simple easy straightforward
easy simple straightforward
easiest simplest
hard difficult tough
good great nice
best top greatest ideal recommended
recommend suggest advise
suggestion recommendation
safe secure
dangerous unsafe
effect impact influence
result outcome
reason cause
cause reason
part component
many several numerous much
enough sufficient
whole entire complete
quick fast
soon shortly
often frequently
often-times usually
usually normally typically generally
normal usual typical regular ordinary
currently presently now
always constantly
each every all
every each all
only solely merely just
about regarding concerning
without lacking
contain include
contains includes
combine merge join unite
connect link attach
split divide separate
copy duplicate
move relocate transfer
save store keep
keep retain maintain
download fetch
install setup
restart reboot
verify confirm check validate
check verify examine
work function operate run
working functioning operating
broken-down broken
arrive come
leave depart
live reside
die decease
eat consume
sleep slumber
learn study
teach instruct
talk speak chat
say tell
big large
bigger larger
think believe
rich wealthy
poor needy
begin start
free gratis complimentary
total overall sum
amount quantity sum
number figure count
size dimension
length duration
weight mass
opening open
opened open
hours times
deadline due
documentation docs manual
manual handbook
example sample instance
guide tutorial manual
code script
program application app software
app application
website site webpage web-page
page webpage
folder directory
function method
variable var
database db
environment env
config configuration
repository repo
argument parameter
directory folder
kubernetes k8s
javascript js
typescript ts
postgresql postgres
python py
mac macos osx
ok fine alright
deadline due-date
windows win
acetaminophen paracetamol
adrenaline epinephrine
soccer football
autumn fall
lift elevator
flat apartment
rubbish trash garbage
pavement sidewalk
petrol gasoline gas
lorry truck
trousers pants
queue line
post mail
cv resume résumé
maths math
colour color
centre center
favourite favorite
licence license
cancelled canceled
traveller traveler
programme program
cheque check
grey gray
metre meter
litre liter
tyre tire
aluminium aluminum
organise organize
recognise recognize
summarise summarize sum-up recap
authorise authorize
analyse analyze
optimise optimize
translate translation
correction correct
weigh weight heavy
height tall
founded established
inhabitants population
usa us america
uk britain
turkey türkiye
czechia czech-republic
holland netherlands
munich münchen
cologne köln
vienna wien
geneva genf genève
milan milano
rome roma
florence firenze
venice venezia
prague praha
lisbon lisboa
seville sevilla
warsaw warszawa
moscow moskau
zurich zürich
copenhagen københavn
brussels bruxelles brüssel
karte kreditkarte
konto account
ändern wechseln anpassen
kündigen beenden stornieren
stornieren annullieren
löschen entfernen
kaufen erwerben bestellen
kosten preis gebühr gebühren
schicken senden versenden
bekommen erhalten kriegen
reparieren beheben lösen
anfangen beginnen starten
handy smartphone mobiltelefon telefon
auto wagen
funktioniert läuft klappt
schnell rasch
passwort kennwort
rechnung faktura
paket sendung
gültig zulässig
alle jeder jede jedes jeden allen
comprar adquirir
cancelar anular
cambiar modificar
borrar eliminar
enviar mandar
empezar comenzar iniciar
obtener conseguir recibir
coche carro auto
móvil celular teléfono
ordenador computadora computador
contraseña clave
precio coste costo
annuler résilier
changer modifier
supprimer effacer
acheter commander
envoyer expédier
commencer débuter
obtenir recevoir
voiture auto
prix coût tarif
portable téléphone mobile
""".replace("-", "")
)

ANTONYMS = _groups(
    """
enable disable
enable deactivate
activate deactivate
activate disable
open close
open shut
open lock
buy sell
increase decrease
increase reduce
increase lower
raise lower
raise reduce
raise cut
grow shrink
start stop
start end
begin end
begin finish
start finish
allow block
allow forbid
allow deny
allow prohibit
allowed forbidden
allowed prohibited
allowed banned
permitted forbidden
permitted prohibited
possible impossible
permit forbid
permit deny
block unblock
accept decline
accept reject
accept refuse
approve reject
approve deny
grant revoke
grant deny
include exclude
include omit
show hide
hide reveal
hide unhide
send receive
borrow lend
lend repay
deposit withdraw
import export
upload download
push pull
encrypt decrypt
encode decode
compress decompress
zip unzip
pack unpack
install uninstall
mount unmount
connect disconnect
attach detach
link unlink
lock unlock
freeze unfreeze
mute unmute
follow unfollow
subscribe unsubscribe
join leave
enter exit
enter leave
arrive depart
arrival departure
login logout
signup logout
checkin checkout
upgrade downgrade
add remove
add delete
add subtract
add deduct
insert delete
insert remove
create delete
create destroy
create remove
append prepend
merge split
combine separate
multiply divide
serialize deserialize
maximum minimum
maximize minimize
maximise minimise
max min
highest lowest
high low
upper lower
top bottom
largest smallest
big small
large small
long short
longest shortest
tall short
heavy light
thick thin
wide narrow
deep shallow
hot cold
warm cool
wet dry
hard soft
hard easy
difficult easy
fast slow
quick slow
early late
earliest latest
earlier later
old new
old young
oldest newest
oldest youngest
older younger
older newer
first last
first second
next previous
next last
ascending descending
asc desc
before after
above below
over under
up down
left right
north south
east west
inside outside
internal external
inner outer
indoor outdoor
front back
forward backward
input output
inbound outbound
incoming outgoing
source target
source destination
sender recipient
sender receiver
buyer seller
landlord tenant
employer employee
teacher student
doctor patient
lender borrower
parent child
client server
host guest
customer supplier
supplier client
debit credit
creditcard debitcard
asset liability
profit loss
gain lose
win lose
income expense
revenue cost
gross net
cheap expensive
cheapest dearest
best worst
better worse
good bad
pro con
advantage disadvantage
benefit risk
benefit drawback
benefit disadvantage
advantage drawback
strength weakness
success failure
succeed fail
pass fail
safe dangerous
safe unsafe
legal illegal
valid invalid
correct incorrect
right wrong
true false
yes no
possible impossible
public private
visible invisible
active inactive
online offline
free paid
paid unpaid
read unread
known unknown
healthy unhealthy
positive negative
optional required
optional mandatory
voluntary mandatory
temporary permanent
manual automatic
formal informal
formal casual
static dynamic
mutable immutable
synchronous asynchronous
sync async
public-key private-key
local remote
domestic international
national international
single multiple
single double
full empty
full partial
whole half
alone together
morning evening
day night
summer winter
today tomorrow
today yesterday
yesterday tomorrow
weekday weekend
man woman
male female
boy girl
father mother
brother sister
husband wife
son daughter
king queen
gain weight-loss
hypertension hypotension
hyperthyroidism hypothyroidism
hyperglycemia hypoglycemia
love hate
like dislike
always never
more less
more fewer
most least
most fewest
often rarely
near far
closer farther
with without
for against
together apart
remember forget
find lose
build demolish
save spend
save delete
give take
give receive
ask answer
come go
visible hidden
alive dead
major minor
senior junior
simple complex
use avoid
prevent cause
support oppose
agree disagree
trust distrust
appear disappear
continue stop
pause resume
pause continue
keep discard
keep delete
keep cancel
renew cancel
extend shorten
extend cancel
expand collapse
expand shrink
rise fall
ascend descend
sunrise sunset
opening closing
aktivieren deaktivieren
aktiviere deaktiviere
einschalten ausschalten
anschalten abschalten
anmelden abmelden
öffnen schließen
öffne schließe
offen geschlossen
geöffnet geschlossen
kaufen verkaufen
kaufe verkaufe
erhöhen senken
erhöhen verringern
erhöhen reduzieren
erlauben verbieten
annehmen ablehnen
akzeptieren ablehnen
senden empfangen
schicken empfangen
importieren exportieren
hochladen herunterladen
sperren entsperren
verbinden trennen
hinzufügen entfernen
hinzufügen löschen
erstellen löschen
installieren deinstallieren
maximal minimal
höchste niedrigste
größer kleiner
größte kleinste
älter jünger
mehr weniger
vor nach
vorher nachher
erste letzte
ersten letzten
billig teuer
billigste teuerste
günstig teuer
günstigste teuerste
schneller langsamer
vorteile nachteile
vorteil nachteil
kündigen verlängern
kündige verlängere
starten stoppen
starten beenden
beginnen enden
einzahlen abheben
ankunft abfahrt
ankunft abflug
ein aus
an ab
an aus
oben unten
innen außen
ja nein
immer nie
verleihen ausleihen
mieter vermieter
käufer verkäufer
absender empfänger
legal illegal
mit ohne
über unter
früher später
activar desactivar
activo desactivo
habilitar deshabilitar
abrir cerrar
abro cierro
abierto cerrado
comprar vender
compro vendo
subir bajar
aumentar reducir
aumentar disminuir
permitir prohibir
aceptar rechazar
enviar recibir
importar exportar
bloquear desbloquear
conectar desconectar
añadir eliminar
añadir quitar
crear eliminar
instalar desinstalar
encender apagar
máximo mínimo
máxima mínima
más menos
mayor menor
antes después
primero último
primera última
barato caro
ventajas desventajas
ventajas inconvenientes
empezar terminar
iniciar detener
depositar retirar
ingresar retirar
llegada salida
siempre nunca
incluir excluir
mostrar ocultar
prestar devolver
cancelar renovar
con sin
sobre bajo
dentro fuera
mejor peor
activer désactiver
ouvrir fermer
ouvert fermé
acheter vendre
augmenter diminuer
augmenter réduire
autoriser interdire
accepter refuser
envoyer recevoir
importer exporter
bloquer débloquer
connecter déconnecter
ajouter supprimer
ajouter retirer
créer supprimer
installer désinstaller
allumer éteindre
maximum minimum
maximal minimal
plus moins
avant après
premier dernier
première dernière
avantages inconvénients
commencer finir
commencer terminer
démarrer arrêter
déposer retirer
arrivée départ
toujours jamais
inclure exclure
afficher masquer
prêter emprunter
résilier renouveler
avec sans
dessus dessous
dedans dehors
meilleur pire
loin proche
loin près
proches loin
ativar desativar
abrir fechar
attivare disattivare
aprire chiudere
comprare vendere
włączyć wyłączyć
włączać wyłączać
otworzyć zamknąć
kupić sprzedać
включить выключить
открыть закрыть
купить продать
увеличить уменьшить
больше меньше
до после
aanzetten uitzetten
açmak kapatmak
zapnout vypnout
öppna stänga
켜는 끄는
켜기 끄기
전 후
""".replace("public-key private-key\n", "").replace("gain weight-loss\n", "")
)

_KIND_WORDS = _table(
    """
negation not: not no never neither nor without nicht kein keine keinen keinem keiner keines nie niemals ohne no-no sin nunca jamás ningún ninguna pas sans jamais aucun aucune nessun senza non não sem nunca nie bez nikdy не нет нельзя без никогда niet geen zonder inte utan không لا بدون ليس غير לא בלי ללא नहीं बिना yok değil olmadan 안 못 없이 unless except
negation soft: avoid avoiding unable impossible fail fails failed failing failure broken lack lacks lacking missing refuse refuses refused deny denied denies declined impossible-de unmöglich kaputt imposible incapaz échoue échec
quantifier all: all every each everyone everybody everything both alle alles jeder jede jedes jeden jedem allen todos todas todo cada tous toutes tout chaque todas-as tutti tutte все каждый wszystkie każdy
quantifier some: some any several few einige manche mehrere ein-paar algunos algunas alguno alguna quelques certains certaines
quantifier none: none nobody nothing niemand nichts keiner-der nadie nada personne rien никто
quantifier only: only solely exclusively nur ausschließlich solo sólo solamente únicamente seulement uniquement только
quantifier most: most mostly die-meisten meisten mayoría plupart
compare more: more above greater exceeding mehr más davantage больше
compare less: less fewer weniger menos moins меньше
compare max: dearest maximum max highest largest biggest most-of höchste höchsten maximale máximo máxima maximal maximale
compare min: minimum min lowest smallest least cheapest niedrigste niedrigsten minimale mínimo mínima minimal minimale
date today: today tonight heute hoy aujourd'hui oggi hoje сегодня vandaag
date tomorrow: tomorrow morgen-tag mañana-día demain domani amanhã завтра
date yesterday: yesterday gestern ayer hier-jour ieri ontem вчера
date weekend: weekend weekends wochenende
date noon: noon midday mittag mediodía midi
date midnight: midnight mitternacht medianoche minuit
condition once: once after nach-dem nachdem sobald
condition before: before prior bevor ehe
condition while: while during während
condition already: already schon-längst bereits ya déjà
condition yet: yet
language english: english englisch englische englischen inglés inglesa anglais anglaise inglese inglês engels английский 英语 英語
language french: french französisch französische französischen francés francais français française francese francês
language german: german deutsch deutsche deutschen alemán allemand allemande tedesco alemão duits
language spanish: spanish castilian spanisch spanische spanischen español castellano espagnol espagnole spagnolo espanhol
language italian: italian italienisch italienische italiano italien italienne
language portuguese: portuguese portugiesisch portugués portugais português portoghese
language brazilian: brazilian
language dutch: dutch niederländisch neerlandés holandés néerlandais flemish
language polish: polish polnisch polnische polaco polonais
language russian: russian russisch russische ruso russe russo
language ukrainian: ukrainian ukrainisch ucraniano ukrainien
language czech: czech tschechisch checo tchèque
language slovak: slovak slowakisch eslovaco slovaque
language slovene: slovene slovenian slowenisch
language croatian: croatian kroatisch
language serbian: serbian serbisch
language bulgarian: bulgarian bulgarisch búlgaro bulgare
language romanian: romanian rumänisch rumano roumain
language hungarian: hungarian ungarisch húngaro hongrois
language greek: greek griechisch griego grec
language turkish: turkish türkisch türkische turco turc
language arabic: arabic arabisch árabe arabe
language hebrew: hebrew hebräisch hebreo hébreu
language persian: persian farsi persisch persa persan
language hindi: hindi
language urdu: urdu
language bengali: bengali bangla
language punjabi: punjabi
language tamil: tamil
language telugu: telugu
language marathi: marathi
language gujarati: gujarati
language chinese: chinese mandarin chinesisch chinesische chino chinois cinese
language cantonese: cantonese
language japanese: japanese japanisch japanische japonés japonais giapponese
language korean: korean koreanisch coreano coréen
language thai: thai thailändisch tailandés thaï
language vietnamese: vietnamese vietnamesisch vietnamita vietnamien
language indonesian: indonesian indonesisch indonesio indonésien
language malay: malay
language tagalog: tagalog filipino
language swahili: swahili kiswahili
language swedish: swedish schwedisch schwedische sueco suédois svedese
language norwegian: norwegian norwegisch noruego norvégien
language danish: danish dänisch danés danois
language finnish: finnish finnisch finlandés finés finnois
language icelandic: icelandic isländisch
language estonian: estonian
language latvian: latvian
language lithuanian: lithuanian
language irish: irish gaelic
language welsh: welsh
language catalan: catalan katalanisch catalán
language basque: basque
language galician: galician
language latin: latin latein latín
language esperanto: esperanto
language hinglish: hinglish
language albanian: albanian
language armenian: armenian
language georgian: georgian
language afrikaans: afrikaans
language zulu: zulu
format json: json
format yaml: yaml yml
format xml: xml
format csv: csv
format tsv: tsv
format html: html
format markdown: markdown md
format latex: latex
format pdf: pdf
format table: table tables tabelle tabla tableau tabular
format list: list liste lista
format bullets: bullet bullets bulletpoints stichpunkte stichpunkten viñetas puces
format numbered: numbered nummeriert nummerierte numerada numérotée
format paragraph: paragraph paragraphs prose absatz absätze párrafo párrafos paragraphe paragraphes
format sentence: sentence sentences satz sätzen sätze frase frases phrase phrases
format word: word words wort worten wörter palabra palabras mot mots
format essay: essay aufsatz ensayo rédaction
format poem: poem rhyme gedicht reim poema poème haiku limerick sonnet
format story: story geschichte cuento histoire
format tweet: tweet
format email: email-format
format letter: letter carta lettre
format formal: formal formell formelle formelles förmlich förmliche formelle
format casual: casual informal informell locker colloquial slang familier familière
format friendly: friendly freundlich freundliche amable amical
format polite: polite höflich höfliche cortés poli
format funny: funny humorous lustig lustige gracioso drôle
format serious: serious
format strict: strict
format professional: professional professionell profesional professionnel
format technical: technical
format short: short brief briefly concise concisely kurz kurze knapp corto corta breve brevemente court courte bref brièvement
format long: long lengthy lang lange ausführlich largo larga detalladamente longuement
format detailed: detailed detail-level thorough in-depth detailliert detallado détail détaillé
format diagram: diagram
format beginner: beginner beginners novice anfänger principiante débutant
format expert: expert experts experte experto
format child: eli5
format youform: du-form
format sieform: sie-form
must must: must obligatory compulsory mandatory muss müssen musst obligatorio obligatoire debo dois
"""
)

NUMBERS = {
    word: int(name)
    for name, words in (
        line.split(":")
        for line in """
0:zero null cero zéro nul ноль
1:one
2:two zwei dos deux due dois twee dwa два két två
3:three drei tres trois tre três drie trzy три
4:four vier cuatro quatre quattro quatro cztery четыре
5:five fünf fuenf cinco cinq cinque vijf pięć пять
6:six sechs seis sei zes sześć шесть
7:seven sieben siete sept sette sete zeven siedem семь
8:eight acht ocho huit otto oito osiem восемь
9:nine neun nueve neuf nove negen dziewięć девять
10:ten zehn diez dix dieci dez tien dziesięć десять
11:eleven elf once-es onze undici
12:twelve zwölf zwoelf doce douze dodici doze twaalf dozen dutzend docena douzaine
13:thirteen dreizehn trece treize tredici treze
14:fourteen vierzehn catorce quatorze quattordici
15:fifteen fünfzehn quince quinze quindici
16:sixteen sechzehn dieciséis seize sedici
17:seventeen siebzehn diecisiete dix-sept
18:eighteen achtzehn dieciocho dix-huit
19:nineteen neunzehn diecinueve dix-neuf
20:twenty zwanzig veinte vingt venti vinte twintig двадцать
30:thirty dreißig dreissig treinta trente trenta trinta dertig тридцать
40:forty fourty vierzig cuarenta quarante quaranta veertig
50:fifty fünfzig cincuenta cinquante cinquanta vijftig пятьдесят
60:sixty sechzig sesenta soixante sessanta zestig
70:seventy siebzig setenta soixante-dix septante settanta
80:eighty achtzig ochenta quatre-vingts quatre-vingt ottanta
90:ninety neunzig noventa quatre-vingt-dix nonante novanta
100:hundred hundert einhundert cien ciento cent cento honderd сто
1000:thousand tausend eintausend mil mille grand duizend тысяча тысяч
100000:lakh lac
1000000:million millions millionen millón millones miljoen миллион mio mln
10000000:crore
1000000000:billion billions milliarde milliarden milliard mrd bn
1000000000000:trillion trillions billionen
""".strip().splitlines()
    )
    for word in words.split()
}
SCALES = frozenset({100, 1000, 100_000, 1_000_000, 10_000_000, 1_000_000_000, 1_000_000_000_000})

ORDINALS = {
    word: name
    for name, words in (
        line.split(":")
        for line in """
1:first 1st erste ersten erster erstes primero primera primer premier première 1er primo prima primeiro
2:second 2nd zweite zweiten zweiter zweites segundo segunda deuxième seconde secondo
3:third 3rd dritte dritten dritter drittes tercero tercera tercer troisième terzo
4:fourth vierte vierten cuarto cuarta quatrième
5:fifth fünfte fünften quinto quinta cinquième
6:sixth sechste sechsten sexto sixième
7:seventh siebte siebten séptimo septième
8:eighth achte achten octavo huitième
9:ninth neunte neunten noveno neuvième
10:tenth zehnte zehnten décimo dixième
last:last final letzte letzten letzter letztes último última dernier dernière последний
next:next upcoming following-one nächste nächsten nächster próximo próxima prochain prochaine
previous:previous prior-one vorige vorherige anterior précédent précédente
""".strip().splitlines()
    )
    for word in words.split()
}

MONTHS = {
    word: name
    for name, words in (
        line.split(":")
        for line in """
01:january jan januar jänner enero janvier gennaio janeiro januari января январь styczeń stycznia
02:february feb februar febrero février febbraio fevereiro februari февраля февраль luty lutego
03:march mar märz maerz marzo mars março maart марта март marca
04:april apr abril avril aprile апреля апрель kwietnia
05:may mai mayo maggio maio mei мая май maja
06:june jun juni junio juin giugno junho июня июнь czerwca
07:july jul juli julio juillet luglio julho июля июль lipca
08:august aug agosto août aout augustus августа август sierpnia
09:september sep sept septiembre septembre settembre setembro сентября сентябрь września
10:october oct okt oktober octubre octobre ottobre outubro октября октябрь października
11:november nov noviembre novembre novembro ноября ноябрь listopada
12:december dec dez dezember diciembre déc décembre dicembre dezembro декабря декабрь grudnia
""".strip().splitlines()
    )
    for word in words.split()
}
UNSURE_MONTHS = frozenset({"may", "march", "mar", "mai", "mars", "mei", "sep", "jan", "dec", "maja", "marca"})

UNSURE_DAYS = frozenset({"mon", "sun", "sat", "wed", "fri", "martes-de"})

WEEKDAYS = {
    word: name
    for name, words in (
        line.split(":")
        for line in """
mon:monday mondays mon montag montags lunes lundi lunedì segunda-feira понедельник maandag
tue:tuesday tuesdays tue tues dienstag dienstags martes mardi martedì terça-feira вторник dinsdag
wed:wednesday wednesdays wed mittwoch mittwochs miércoles mercredi mercoledì quarta-feira среду woensdag
thu:thursday thursdays thu thurs donnerstag donnerstags jueves jeudi giovedì quinta-feira четверг donderdag
fri:friday fridays fri freitag freitags viernes vendredi venerdì sexta-feira пятницу vrijdag
sat:saturday saturdays samstag samstags sonnabend sábado samedi sabato субботу zaterdag
sun:sunday sundays sonntag sonntags domingo dimanche domenica воскресенье zondag
""".strip().splitlines()
    )
    for word in words.split()
}

CURRENCIES = _table(
    """
usd: $ usd us$ dollar dollars bucks buck dólar dólares
eur: € eur euro euros
gbp: £ gbp pound pounds quid sterling pfund libras
jpy: ¥ jpy yen 円
inr: ₹ inr rs rupee rupees
chf: chf franken francs-suisses
krw: ₩ krw won
rub: ₽ rub rubel рублей
pln: pln zloty złoty zł
brl: r$ brl reais
sek: sek kronor
dkk: dkk
nok: nok
cny: cny rmb yuan 元
cad: cad c$
aud: aud a$
btc: btc bitcoin
cent: cent cents ¢ pence
"""
)

UNITS = _table(
    """
%: % percent percentage-sign prozent por_ciento pourcent pct
minute: min mins minute minutes minuten minutos
hour: h hr hrs hour hours stunde stunden hora horas heure heures
second: s sec secs seconds sekunden segundos secondes
ms: ms millisecond milliseconds millisekunden
day: day days tag tage tagen día días jour jours
week: week weeks wk wks woche wochen semana semanas semaine semaines
month: month months monat monate monaten mes meses mois
year: year years yr yrs jahr jahre jahren año años an ans année années
fortnight: fortnight fortnights
decade: decade decades
century: century centuries
kg: kg kgs kilo kilos kilogram kilograms kilogramm kilogramo kilogramme
g: g gram grams gramm gramme gramos grammes
mg: mg milligram milligrams milligramm
µg: µg μg mcg microgram micrograms mikrogramm
lb: lb lbs
oz: oz ounce ounces
ton: ton tons
tonne: tonne tonnes t
stone: st-weight
km: km kms kilometer kilometers kilometre kilometres kilómetros
m: meter meters metre metres metros mètres
cm: cm centimeter centimeters centimetre centimetres zentimeter
mm: mm millimeter millimeters millimetre millimetres
mile: mi mile miles meilen millas
yard: yd yds yard yards
foot: ft foot feet
inch: inch inches zoll pulgadas pouces
km/h: km/h kmh kph
mph: mph mi/h
m/s: m/s
l: l liter liters litre litres litros
ml: ml milliliter milliliters millilitre
gallon: gal gallon gallons
pint: pint pints
cup: cup cups
tbsp: tbsp tablespoon tablespoons
tsp: tsp teaspoon teaspoons
celsius: °c celsius centigrade
fahrenheit: °f fahrenheit
kelvin: kelvin kelvins
kw: kw kilowatt kilowatts
watt: watt watts
mw-mega: megawatt megawatts
gw: gw gigawatt gigawatts
kwh: kwh
volt: volt volts
amp: amp amps ampere
byte: byte bytes
kbyte: kilobyte kilobytes
mbyte: megabyte megabytes
gbyte: gb gigabyte gigabytes
tbyte: tb terabyte terabytes
bit: bit bits
mbit: megabit megabits mbps mbit
gbit: gigabit gigabits gbps gbit
m2: m² m2 sqm quadratmeter quadratmetern
sqft: sqft
px: px pixel pixels
rpm: rpm
hz: hz hertz
ghz: ghz
mhz: mhz
kcal: kcal kilocalorie kilocalories
calorie: calorie calories
joule: joule joules
degree: degree degrees ° grad
"""
)

UNITS_BY_CASE = {
    "MW": "mw-mega",
    "mW": "mw-milli",
    "W": "watt",
    "V": "volt",
    "mV": "mv",
    "A": "amp",
    "mA": "ma",
    "MB": "mbyte",
    "mb": "mbyte",
    "Mb": "mbit",
    "GB": "gbyte",
    "Gb": "gbit",
    "kB": "kbyte",
    "KB": "kbyte",
    "kb": "kbyte",
    "Kb": "kbit",
    "B": "byte",
    "Cal": "kcal",
    "cal": "calorie",
    "kcal": "kcal",
    "K": "kelvin",
    "C": "celsius",
    "F": "fahrenheit",
    "L": "l",
    "m": "m",
    "M": "mega",
    "N": "newton",
    "J": "joule",
    "kJ": "kjoule",
    "MHz": "mhz",
    "mHz": "millihertz",
    "Pa": "pascal",
    "mM": "millimolar",
    "nm": "nm",
    "Nm": "newtonmetre",
    "mm": "mm",
    "Mm": "megametre",
    "mg": "mg",
    "Mg": "megagram",
    "Ω": "ohm",
}

COORDINATORS = frozenset(
    "and or vs versus & und oder y o e et ou between sowie compared comparison difference together "
    "и или en of och eller ve ya i lub".split()
)

UNSPACED_HARMLESS = tuple(
    """
如何 怎么样 怎么 怎样 请问 请 一下 可以 能不能 能否 吗 呢 吧 啊 了 的 我想 我要 想 要 应该 该 告诉我 请告诉我 我
您 你 这个 那个 一个 是什么 什么是 是 什么 方法 办法 有没有 介绍 解释 说明 谢谢 您好 你好 为什么 为何
多少 几 才能 才 能 在 把 给
ください 下さい 教えて 教え いただけますか もらえますか です ですか ます ますか でしょうか か は が を に の で と も へ
ね よ どうやって どうすれば どのように どう する します すれば いい よい 良い 方法 やり方 したい のですが んですが
お願いします とは 何 なに なん こと には ありますか あります いつ どこ なぜ どうして お ご ？ ? 。 、 ！ ， ,
ครับ ค่ะ คะ หน่อย อย่างไร ยังไง วิธี ช่วย ได้ ไหม ที่ คือ อะไร
""".split()
)

UNSPACED_NEGATION = ("不", "没", "無", "无", "非", "别", "未", "ない", "ません", "なく", "ずに", "なし", "ไม่")

UNSPACED_ANTONYMS = _groups(
    """
开 关
打开 关闭
大 小
多 少
买 卖
前 后
上 下
上 以下
进 出
入 出
高 低
快 慢
长 短
新 旧
左 右
早 晚
启用 禁用
增加 减少
最大 最小
登录 退出
存 取
借 还
以上 以下
以上 未満
前 後
開 閉
買 売
高 安
早 遅
増 減
有効 無効
最大 最小
追加 削除
入 出
送 受
เปิด ปิด
ซื้อ ขาย
ก่อน หลัง
มาก น้อย
ใกล้ ไกล
"""
)

KIND_WORDS: dict[str, tuple[str, str]] = {
    word: (name.split(" ")[0], name.split(" ")[1]) for word, name in _KIND_WORDS.items()
}
"""Words of a kind: the kind and the key under which equal ones meet."""
