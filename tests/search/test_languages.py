"""Pages in many languages in one index, and queries that do not say which they are in."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from conftest import SHARED
from search_oracles import index_of

from lakerank.search.index.index_input import without_stubs_arrow
from lakerank.search.pages.urls import page_id
from lakerank.search.query.engine import SearchEngine
from lakerank.search.query.parse import FormWeights, Vocabulary, analyze_query, parse
from lakerank.search.text.languages import language_of

# Page → language, text, and queries that it alone answers.
TEXTS = {
    "de": ("Die Bäckereien der Altstadt öffnen vor Sonnenaufgang, und die Bäcker verkaufen warme Brötchen.",
           ["Bäckerei", "Brötchen", "warmes Brötchen", "Backereien Altstadt", "Sonnenaufgänge"]),
    "fr": ("Les pêcheurs réparent leurs filets sur le quai pendant que les goélands tournent au-dessus des bateaux.",
           ["pêcheur", "pecheurs", "goéland", "réparer les filets", "bateau"]),
    "es": ("Las niñas jugaban en la plaza mientras los músicos tocaban canciones antiguas con guitarras y tambores.",
           ["canción", "guitarra", "musicos", "jugar plaza", "niñas"]),
    "it": ("I vignaioli raccolgono l'uva sulle colline toscane e la portano nelle cantine con vecchi carri di legno.",
           ["vignaiolo", "collina toscana", "l'uva", "cantina"]),
    "pt": ("Os pescadores das ilhas voltam ao porto quando as nuvens escuras anunciam tempestades e ventos fortes.",
           ["pescador", "tempestade", "nuvens", "ilhas"]),
    "nl": ("De molenaars malen het graan van de boeren en zakken het meel in grote linnen zakken voor de bakkerij.",
           ["molenaar", "graan", "linnen zak"]),
    "sv": ("Renskötarna flyttar sina renar över fjällen varje vår och bygger stängsel av björk längs sjöarna.",
           ["renskötare", "fjäll", "stängsel", "fjall"]),
    "pl": ("Zimą dzieci lepiły bałwany przed szkołą, a nauczyciele częstowali wszystkich gorącą herbatą z malinami.",
           ["bałwany", "herbatą", "balwany", "szkołą"]),
    "cs": ("Hodinář opravoval staré orloje na věži radnice a ukazoval žákům ozubená kolečka a těžká závaží.",
           ["hodinář", "orloje", "hodinar"]),
    "tr": ("Isparta'nın gül bahçelerinde İnci Hanım her sabah çiçekleri toplar ve yağ fabrikasına götürür.",
           ["ISPARTA", "İnci", "çiçekler", "cicekleri"]),
    "ru": ("Кузнецы ковали железные ворота для старой крепости, а подмастерья раздували мехи и носили уголь.",
           ["кузнец", "ворота крепости", "подмастерье", "УГОЛЬ"]),
    "el": ("Οι μελισσοκόμοι μαζεύουν το θυμαρίσιο μέλι στα νησιά και το πουλούν στις αγορές του λιμανιού.",
           ["μελισσοκόμοι", "μελι", "ΝΗΣΙΑ"]),
    "ar": ("يزرع الفلاحون أشجار النخيل قرب الواحة ويجمعون التمور في سلال كبيرة قبل حلول الشتاء.",
           ["النخيل", "تمور", "الفَلَّاحون", "واحة"]),
    "he": ("הדייגים תיקנו את הרשתות על החוף והילדים אספו צדפים לבנים ליד המגדלור הישן.",
           ["הרשתות", "צדפים", "הַמִּגְדַּלּוֹר"]),
    "fa": ("باغبانان گل‌های سرخ را در باغ‌های کاشان می‌چینند و گلاب تازه می‌سازند.",
           ["گلاب", "کاشان", "باغبانان"]),
    "hi": ("कुम्हार नदी की मिट्टी से सुंदर घड़े बनाते हैं और उन्हें मेले में बेचते हैं।",
           ["कुम्हार", "मिट्टी", "घड़े"]),
    "zh": ("木匠用竹子制作灯笼，每年元宵节挂在古镇的石桥两旁，游客们纷纷拍照留念。",
           ["灯笼", "元宵节", "古镇石桥", "木匠"]),
    "ja": ("陶芸家は山の粘土で茶碗を作り、薪の窯で三日間焼いてから市場で販売します。",
           ["陶芸家", "茶碗", "薪の窯", "粘土"]),
    "ko": ("할머니는 마당에서 고추를 말리고 항아리에 된장을 담가 겨울을 준비하셨다.",
           ["고추", "항아리", "된장", "할머니"]),
    "th": ("ช่างทอผ้าใช้เส้นไหมย้อมสีธรรมชาติทอผ้าพื้นเมืองลวดลายโบราณของหมู่บ้านริมแม่น้ำ",
           ["เส้นไหม", "ผ้าพื้นเมือง", "หมู่บ้าน"]),
}  # fmt: skip
ENGLISH = (
    "The library number {} keeps old maps and lends books on gardens, ships, bread, fishing and weather to everybody "
    "who asks for them at the desk."
)


@pytest.fixture(scope="module")
def engine() -> SearchEngine:
    docs = [
        {"page_id": number, "doc_id": code, "text": text, "language": language_of(text, None)}
        for number, (code, (text, _)) in enumerate(TEXTS.items())
    ]
    docs += [{"page_id": 100 + i, "doc_id": f"en-{i}", "text": ENGLISH.format(i), "language": "en"} for i in range(60)]
    return SearchEngine(index_of(docs, language=""))


@pytest.mark.parametrize(
    ("page", "query"), [(code, query) for code, (_, queries) in TEXTS.items() for query in queries]
)
def test_a_page_is_found_in_its_language(engine: SearchEngine, page: str, query: str) -> None:
    assert [hit.id for hit in engine.search(query).hits][:1] == [page]


def test_each_word_as_it_is_written_finds_its_page(engine: SearchEngine) -> None:
    missed = [
        (code, word)
        for code, (text, _) in TEXTS.items()
        for word in text.split()
        if code not in [hit.id for hit in engine.search(f'"{word}"').hits]
    ]
    assert missed == []


def test_a_query_may_be_told_its_language() -> None:
    docs = [
        {
            "page_id": 1,
            "language": "de",
            "text": "Die Wale leben im Meer und die Robben am Strand, sagte der Forscher.",
        },
        {"page_id": 2, "language": "en", "text": "They die in the sea of old age, said the man who had watched."},
    ]
    engine = SearchEngine(index_of(docs, language=""))
    assert {hit.page.page_id for hit in engine.search("die").hits} == {1, 2}
    told = engine.search("die Wale", language="de")
    assert [hit.page.page_id for hit in told.hits] == [1], "`die` is a stop word of German"
    assert {hit.page.page_id for hit in engine.search("die sea", language="en").hits} == {1, 2}


def test_the_form_as_written_is_before_its_relatives() -> None:
    docs = [
        {"page_id": i, "text": text} for i, text in enumerate(["arranged chairs", "arranging chairs", "arranges it"])
    ]
    engine = SearchEngine(index_of(docs))
    for query, first in (("arranged", 0), ("arranging", 1), ("arranges", 2)):
        hits = engine.search(query).hits
        assert hits[0].page.page_id == first
        assert len(hits) == 3
    accents = [{"page_id": i, "text": text} for i, text in enumerate(["a resume of work", "her résumé came"])]
    engine = SearchEngine(index_of(accents))
    assert [hit.page.page_id for hit in engine.search("resume").hits] == [0, 1]
    assert [hit.page.page_id for hit in engine.search("résumé").hits] == [1, 0]
    assert [hit.page.page_id for hit in engine.search('"résumé"').hits] == [1], "a phrase is as written"


def test_names_of_programs_are_told_apart() -> None:
    texts = [
        "Programs in C++ are fast", "Programs in C# are safe", "Programs in C are small", "Runs on .NET only",
        "A net for fish", "Call read_csv with a path", "You read the csv file", "document.getElementById is old",
        "Write to jane.doe@example.org today", "Version 2.5.1 came", "Version 2.5 came", "Send an e-mail", "Send email",
    ]  # fmt: skip
    engine = SearchEngine(index_of([{"page_id": i, "text": text} for i, text in enumerate(texts)]))

    def found(query: str) -> list[int]:
        return [hit.page.page_id for hit in engine.search(query).hits]

    for query, first in (
        ("C++", 0), ("C#", 1), (".NET", 3), ("read_csv", 5), ("getElementById", 7), ("get element by id", 7),
        ("jane.doe@example.org", 8), ("2.5.1", 9),
    ):  # fmt: skip
        assert found(query)[0] == first, query
    assert set(found("read csv")[:2]) == {5, 6}
    assert {11, 12} <= set(found("e-mail")) & {11, 12, *found("email")}
    assert set(found("email")) == {11, 12}


def test_a_name_is_not_inflected() -> None:
    vocabulary = Vocabulary(["en"], lambda term: 1.0, 9)
    how = FormWeights(exact=0.4, named=0.9)
    weights = analyze_query(parse("copies (pandas.Index)"), vocabulary, how).weights
    assert weights["copies"] == pytest.approx(0.9)
    assert analyze_query(parse("copies of e.g. this"), vocabulary, how).weights["copies"] == pytest.approx(0.4)


def test_a_page_that_only_leads_on_is_left_out() -> None:
    urls = ["https://a.org/old", "https://a.org/new", "https://a.org/gone", "https://a.org/self", "https://a.org/http"]
    pages = pa.table({"page_id": pa.array([page_id(url) for url in urls], pa.int64())})
    redirects = pa.table(
        {
            "url": [urls[0], urls[2], urls[3], urls[4]],
            "target_url": [urls[1], "https://elsewhere.org/", urls[3], urls[1]],
            "kind": ["refresh", "refresh", "refresh", "http"],
        }
    )
    kept = without_stubs_arrow(pages, redirects)["page_id"].to_pylist()
    assert kept == [page_id(url) for url in urls[1:]], "its target is not there: it is all there is"


CASES = SHARED.parent / "cases" / "pages"


@pytest.mark.skipif(not (CASES / "lang.jsonl").exists(), reason=f"{CASES}/lang.jsonl is not there")
def test_the_shared_questions_find_their_pages() -> None:
    rows = [json.loads(line) for line in (CASES / "lang.jsonl").read_text(encoding="utf-8").splitlines()]
    docs = [
        {**row, "doc_id": row["id"], "page_id": number, "language": language_of(row["text"], None)}
        for number, row in enumerate(rows)
    ]
    engine = SearchEngine(index_of(docs, language=""))
    asked = [line.split("\t") for line in (CASES / "lang-queries.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    wrong = [(page, query) for page, query in asked if [hit.id for hit in engine.search(query).hits][:1] != [page]]
    assert wrong == []
    assert len(asked) == 44
