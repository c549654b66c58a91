"""What a column of somebody's file may hold, told by its name and its values."""

import math
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

MARKS = ("id", "ids", "key", "code", "nr", "no", "num", "number", "nummer", "numero", "guid", "uuid", "hash", "pk",
         "ref", "idx", "cislo", "kod", "codigo", "kennung")  # fmt: skip
OTHER_IDS = ("order", "invoice", "transaction", "basket", "event", "row", "review", "line", "category", "department",
             "aisle", "shop", "store", "parent")  # fmt: skip
NAMES = {  # words for what a key holds, the better ones first: English, German, French, Spanish and some others
    "user_id": """user uid customer client visitor member account profile subscriber buyer shopper reviewer reader
        listener viewer player guest consumer household person cust usr nutzer benutzer kunde besucher mitglied
        utilisateur visiteur abonne usuario comprador utente cliente gebruiker klant uzytkownik uzivatel zakaznik
        klient u session""",
    "item_id": """item items sku asin isbn product prod movie article stock book song track video film show series
        content listing offer property hotel business recipe anime game app document doc news course job
        podcast place venue card artikel produkt ware buch lied produit livre producto articulo libro
        produto artigo prodotto articolo zbozi polozka kniha towar pid i""",
    "timestamp": """timestamp ts datetime time date at when epoch created zeitstempel zeitpunkt zeit datum fecha hora
        heure data ora tijd cas czas invoicedate orderdate""",
    "value": """rating ratings rate score stars overall value quantity qty amount count counts plays playcount weight
        bewertung sterne wert menge anzahl note quantite valeur cantidad valoracion puntuacion valor quantita voto
        hodnoceni hodnota mnozstvi pocet ocena ilosc""",
    "event_type": """eventtype event eventname interactiontype interaction actiontype action behaviortype behavior
        behaviour activitytype activity feedbacktype feedback type kind ereignistyp ereignis aktion typ evenement
        evento tipo accion azione akce udalost zdarzenie""",
    "title": """title name label description headline titel bezeichnung produktname titre nom titulo nombre nome nazev
        titolo naam nazwa""",
    "category": """category categories genre genres department categoryid departmentid kategorie warengruppe categorie
        categoria kategoria brand type""",
}


DATES = ("%d/%m/%Y", "%m/%d/%Y", "%d/%m/%y", "%m/%d/%y", "%Y/%m/%d")
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")


@dataclass(frozen=True)
class Column:
    """A column of a file: its name, and the values of its first rows, without those that are missing."""

    name: str
    values: tuple

    @property
    def tokens(self) -> list[str]:
        """The words of the name in lower case and without accents: InvoiceDate is invoice, date."""
        plain = unicodedata.normalize("NFKD", self.name).encode("ascii", "ignore").decode()
        return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", plain)]

    @property
    def numbers(self) -> list[float] | None:
        """The values as numbers; None if there are none or some are no numbers."""
        try:
            numbers = [float(value) for value in self.values if not isinstance(value, bool | date)]
        except (TypeError, ValueError):
            return None
        return numbers if numbers and len(numbers) == len(self.values) and all(map(math.isfinite, numbers)) else None

    @property
    def has_decimals(self) -> bool:
        """Whether the values are whole numbers that are written like 17850.0."""
        return self.can_be_id() and self.numbers is not None and any("." in str(value) for value in self.values)

    @property
    def is_marked(self) -> bool:
        """Whether the name says that it holds ids of something, other than of orders and the like."""
        return bool(self.tokens) and self.tokens[-1] in MARKS and self.tokens[0] not in OTHER_IDS

    @property
    def has_moments(self) -> bool:
        """Whether every value can be read as a time."""
        return all(map(_is_moment, self.values))

    @property
    def formats(self) -> list[str]:
        """The formats of strptime that all values have, of the usual ones."""
        dates = (day.replace("/", sign) for sign in "/.-" for day in DATES)
        candidates = (f"{day}{clock}" for day in dates for clock in CLOCKS)
        return [form for form in candidates if all(_has_format(str(value), form) for value in self.values)]

    def can_be_id(self) -> bool:
        if any(not isinstance(value, int | str | float) or isinstance(value, bool) for value in self.values):
            return False
        return self.numbers is None or all(number.is_integer() for number in self.numbers)

    def can_be_time(self) -> bool:
        """Text is enough: its form may be one that has to be described."""
        return self.has_moments or (self.numbers is None and isinstance(self.values[0], str))

    def can_be_number(self) -> bool:
        return self.numbers is not None

    def can_be_kind(self) -> bool:
        return len(set(map(str, self.values))) <= 30 and not any(isinstance(v, date | float) for v in self.values)

    def can_be_anything(self) -> bool:
        return True

    def examples(self) -> str:
        shown = ", ".join(str(value)[:30] for value in list(dict.fromkeys(map(str, self.values)))[:3])
        return f"such as {shown}" if shown else "no values yet"


FITS = {
    "user_id": Column.can_be_id,
    "item_id": Column.can_be_id,
    "timestamp": Column.can_be_time,
    "value": Column.can_be_number,
    "event_type": Column.can_be_kind,
    "title": Column.can_be_anything,
    "category": Column.can_be_anything,
}


def find_columns(columns: list[Column], keys: tuple[str, ...]) -> dict[str, Column]:
    """The column for each key, one after the other, as far as names and values tell."""
    found: dict[str, Column] = {}
    for key in keys:
        left = [column for column in columns if column not in found.values()]
        ranked = [(rank, place) for place, column in enumerate(left) if (rank := _rank(column, key))]
        best = next((left[place] for _, place in sorted(ranked) if FITS[key](left[place])), None)
        found |= {key: best} if best else {}
    return found


def _rank(column: Column, key: str) -> tuple | None:
    """How far the name is from a word for the key; None if it has none. Ids may have a mark before or behind it."""
    tokens, is_id = column.tokens, key.endswith("_id")
    if is_id and (not tokens or tokens[0] in OTHER_IDS):
        return None
    ranks = []
    for start in range(len(tokens)):
        name = "".join(tokens[start:])
        bare = {name: True}
        if is_id:
            bare |= {name.removesuffix(mark): False for mark in MARKS if name.endswith(mark)}
            bare |= {name.removeprefix(mark): False for mark in MARKS if name.startswith(mark)}
        ranks += [
            (start > 0, is_bare and len(word) > 3, place)
            for place, word in enumerate(NAMES[key].split())
            for core, is_bare in bare.items()
            if core == word or (is_id and len(word) > 4 and word in (core[:-1], core[:-2]))
        ]
    return min(ranks, default=None)


def _has_format(value: str, form: str) -> bool:
    try:
        return bool(datetime.strptime(value, form))
    except ValueError:
        return False


def _is_moment(value: Any) -> bool:
    """A date or time, ISO text, a Unix epoch, or digits such as 20261231."""
    if isinstance(value, date):
        return True
    try:
        number = abs(float(value))
    except (TypeError, ValueError):
        pass
    else:
        return number >= 1e8 or 19000101 <= number <= 29991231
    try:
        return datetime.fromisoformat(str(value).removesuffix(" UTC")) is not None
    except ValueError:
        return False


def find_by_values(columns: list[Column], is_it: Callable[[Column], bool]) -> Column | None:
    """The only column of which that is so; None where there is none, or several."""
    found = [column for column in columns if column.values and is_it(column)]
    return found[0] if len(found) == 1 else None
