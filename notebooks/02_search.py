# Databricks notebook source
# MAGIC %md
# MAGIC # Search
# MAGIC
# MAGIC Web pages in, ranked answers out: text and links are taken out of HTML or WARC files, links give **PageRank**, text
# MAGIC gives an **inverted index**, and a query is answered by both. The score of a page is
# MAGIC
# MAGIC $$\sum_{t \in q} \text{idf}(t)\,\frac{(k_1 + 1)\,\tilde f_t}{k_1 + \tilde f_t} \;+\; w \log(\text{PageRank} \cdot N)$$
# MAGIC
# MAGIC where the weighted frequency *f̃* of a word sums over title, headings, texts of links and body, each divided by its
# MAGIC own length norm (BM25F, [Robertson and Zaragoza, 2009](https://doi.org/10.1561/1500000019)).
# MAGIC
# MAGIC **Your data:** set `source` to folders of HTML (with the address they are below as `base_url`) or to WARC files.

# COMMAND ----------

# MAGIC %pip install --quiet ..[search]

# COMMAND ----------

dbutils.widgets.text("lake", "../build/notebooks/lake", "lake: folder or catalog.schema")
dbutils.widgets.text("source", "../examples/site", "pages: folder of HTML, WARC files")
dbutils.widgets.text("base_url", "https://lakerank.example/", "address of the HTML files")
dbutils.widgets.text("query", "how is link spam found", "query")
dbutils.widgets.text("scratch", "", "folder for intermediate results (serverless)")

lake, source, base_url = (dbutils.widgets.get(name) for name in ("lake", "source", "base_url"))
query, scratch = dbutils.widgets.get("query"), dbutils.widgets.get("scratch")

# COMMAND ----------

# MAGIC %md
# MAGIC ## Pages and links
# MAGIC
# MAGIC What cannot be read is not lost: it is in `pages_rejected`, with file, offset and reason.

# COMMAND ----------

import pandas as pd

from lakerank.report.page import render
from lakerank.report.sections import report_page
from lakerank.report.store import read_lake
from lakerank.search.search_index import SearchIndex
from lakerank.spark.notebook import table
from spark_jobs import build_index, ingest_pages, link_spam, pagerank

ingest_pages.run(spark, ingest_pages.Args(lake=lake, source=source, base_url=base_url, scratch=scratch))
display(table(spark, lake, "pages").select("url", "title", "language", "duplicate_of"))

# COMMAND ----------

# MAGIC %md
# MAGIC A link in a menu says less than one in a sentence, so links are weighted by where they stand.

# COMMAND ----------

display(table(spark, lake, "links").groupBy("zone").count())

# COMMAND ----------

pagerank.run(spark, pagerank.PageRankArgs(lake=lake, weights=True, top=5, scratch=scratch))
displayHTML(render(report_page(read_lake(spark, lake), lake, ["ranks"])))

# COMMAND ----------

# MAGIC %md
# MAGIC ## The index
# MAGIC
# MAGIC Postings in compact blocks, a Delta table like any other. Run it again after pages have changed and only those are
# MAGIC indexed.

# COMMAND ----------

build_index.run(spark, build_index.Args(lake=lake))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Answers
# MAGIC
# MAGIC Plain words, `"phrases"`, `+must`, `-not`, `OR`, `site:`, `title:`. Opening the index takes a moment, once; a query
# MAGIC then takes milliseconds and no Spark job.

# COMMAND ----------

engine = SearchIndex.open(lake, get_spark=lambda: spark).engine
answer = engine.search(query, top=5, reasons=True)
found = [(hit.rank, hit.title, hit.url, round(hit.score, 3), f"{hit.pagerank:.4f}") for hit in answer.hits]
print(f"{query!r}: {1000 * answer.seconds:.1f} ms")
display(pd.DataFrame(found, columns=["rank", "title", "url", "score", "PageRank"]))

# COMMAND ----------

# MAGIC %md
# MAGIC Why the first is first: every part of its score.

# COMMAND ----------

print("\n".join(answer.hits[0].explanation.lines()) if answer.hits else "nothing found")

# COMMAND ----------

# MAGIC %md
# MAGIC ## Link spam
# MAGIC
# MAGIC PageRank can be bought: a farm of pages that link to one another lifts its target. `link_spam` finds dense clusters
# MAGIC whose rank comes from themselves and ranks without them ([guide](../docs/spam.md)). Here there should be none.

# COMMAND ----------

link_spam.run(spark, link_spam.LinkSpamArgs(lake=lake, top=5, scratch=scratch))
display(table(spark, lake, "spam_report"))
