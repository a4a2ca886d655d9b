"""Small hand-written pages of several layouts: (name, page, what must be in its text, what must not)."""

SENTENCE = "The otter swims in the river at dawn and sleeps on the bank when the sun is high. "
DOCS = f"""<!doctype html><html lang=en><head><title>Guide &#8212; Otters</title></head><body>
<header><a href=/>Home</a> Sitehead</header><nav><ul><li><a href=a.html>Menuword</a></li></ul></nav>
<main><div class=bd-sidebar-secondary>Tocword</div><article><h1>Guide<a class=headerlink href=#guide>#</a></h1>
<p>{SENTENCE}See <a href=other.html#part>the <b>oth</b>er</a>.</p><pre><span>import</span> otter
otter.swim()</pre>After code<table><tr><td>one</td><td>two</td></tr></table></article></main>
<footer>Footword</footer></body></html>"""
BLOG = f"""<html><body><div id=sidebar><a href=x>Sideword</a></div><div class=content><h2>Post</h2><p>{SENTENCE * 5}</p>
</div><div id=comments><p>Commentword</p></div><div class=cookie-banner>Cookieword</div></body></html>"""
TABLES = f"""<TITLE>Old page</TITLE><BODY><TABLE><TR><TD><A HREF=1.htm>Linkone</A><BR><A HREF=2.htm>Linktwo</A><BR>
<A HREF=3.htm>Linkthree</A><BR><A HREF=4.htm>Linkfour</A></TD><TD><FONT SIZE=4>Welcome</FONT><P>{SENTENCE * 5}
<A HREF=5.htm>fifth</A><P>Bye</TABLE>"""
NEWS = f"""<html><body><main><section><article><header><h1>Storm</h1></header><p>{SENTENCE * 3}</p>
<aside>Asideword</aside><div class="share-buttons">Shareword</div></article><section class=comments>Commentword
</section></section></main></body></html>"""
WRAPPED = (
    f"<html><body class=has-sidebar><form><div class=page-menu-wrapper><p>{SENTENCE * 3}</p></div></form></body></html>"
)

LAYOUTS = [
    (
        "documentation",
        DOCS,
        ["otter swims", "import otter\notter.swim()\nAfter code", "one two"],
        ["Menuword", "Tocword", "Footword", "Sitehead", "#"],
    ),
    ("blog", BLOG, ["Post", "otter swims"], ["Sideword", "Commentword", "Cookieword"]),
    ("tables of the 1990s", TABLES, ["Welcome\nThe otter", "fifth\nBye"], ["Linkone", "Linkfour"]),
    ("news with comments", NEWS, ["Storm", "otter swims"], ["Asideword", "Shareword", "Commentword"]),
    ("menu word on a wrapper", WRAPPED, ["otter swims"], []),
]
