# Databricks notebook source
# MAGIC %md
# MAGIC # PageRank
# MAGIC
# MAGIC A surfer clicks a link of the page she is on with probability *d* (the **damping**), and otherwise types the
# MAGIC address of any page at all (the **teleport**). PageRank is how often she is found on each page
# MAGIC ([Brin and Page, 1998](https://doi.org/10.1016/S0169-7552(98)00110-X)):
# MAGIC
# MAGIC $$x_{t+1} = d\,P^{\top} x_t + d\,\Big(\sum_{\text{sinks}} x_t\Big)\,v + (1 - d)\,v$$
# MAGIC
# MAGIC *P* spreads a page's rank evenly over its links; *v* is the teleport, the same for all pages unless you choose
# MAGIC otherwise. Pages without links (**sinks**) pass their rank on by teleport, so all ranks sum to 1.
# MAGIC
# MAGIC **Your data:** set `links` to a table with `src` and `dst` or to an edge list (tsv, csv, `.gz`, Parquet); without it a
# MAGIC bundled small web site is ranked. `lake` is a folder or `catalog.schema`; ranks are written there.

# COMMAND ----------

# MAGIC %pip install --quiet ..

# COMMAND ----------

dbutils.widgets.text("lake", "../build/notebooks/lake", "lake: folder or catalog.schema")
dbutils.widgets.text("links", "", "links: table or file (default: of a small web site)")
dbutils.widgets.text("damping", "0.85", "damping, 0 to 1")
dbutils.widgets.dropdown("engine", "auto", ["auto", "native", "graphframes"], "engine")

lake, links = dbutils.widgets.get("lake"), dbutils.widgets.get("links")
damping, engine = float(dbutils.widgets.get("damping")), dbutils.widgets.get("engine")

# COMMAND ----------

# MAGIC %md
# MAGIC ## Why there is a damping: three pages, three webs
# MAGIC
# MAGIC Yahoo links to itself and to Amazon, Amazon to Yahoo and Microsoft, and Microsoft to Amazon (*seed*), only to itself
# MAGIC (*spider trap*), or nowhere (*dead end*). With damping 1 the trap ends up with all rank. With 0.85 every page keeps
# MAGIC some, and the trap only a good deal.

# COMMAND ----------

import pandas as pd

from lakerank.graph.api import pagerank as rank
from lakerank.graph.build_graph import EXACT, example_frame
from lakerank.report.page import render
from lakerank.report.sections import report_page
from lakerank.report.store import read_lake
from spark_jobs import centrality, ingest_pages, pagerank
from lakerank.spark.notebook import table

told = []
for web, (edges, _) in EXACT.items():
    for d in (0.85, 1.0):
        ranked = rank(example_frame(spark, edges), damping=d, tol=1e-12, max_iter=1000)
        ranks = {row["id"]: row["pagerank"] for row in ranked.ranks.collect()}
        told.append({"web": web, "damping": d, **ranks, "iterations": ranked.iterations})
display(pd.DataFrame(told))

# COMMAND ----------

# MAGIC %md
# MAGIC `rank` takes frames of Spark, pandas or Arrow, or a GraphFrame; `graphframes_pagerank` beside it has GraphFrames'
# MAGIC parameters and columns, also where GraphFrames cannot run.
# MAGIC
# MAGIC ## Your links
# MAGIC
# MAGIC The job prints how much all ranks together change in each iteration, the best pages, and an upper **bound of the
# MAGIC error**: what is still to come can be at most *d / (1 − d)* times the last change.

# COMMAND ----------

if not links:
    site = {"source": "../examples/site", "base_url": "https://lakerank.example/"}
    ingest_pages.run(spark, ingest_pages.Args(lake=lake, **site))
summary = pagerank.run(spark, pagerank.PageRankArgs(lake=lake, links=links, damping=damping, engine=engine))

# COMMAND ----------

display(table(spark, lake, "ranks").orderBy("pagerank", ascending=False))

# COMMAND ----------

# MAGIC %md
# MAGIC The best pages, and how the ranks converged: each iteration leaves at most *d* of the change before it, often much
# MAGIC less; a straight line on this scale.

# COMMAND ----------

displayHTML(render(report_page(read_lake(spark, lake), lake, ["ranks"])))

# COMMAND ----------

# MAGIC %md
# MAGIC ## What else links say
# MAGIC
# MAGIC **Hubs and authorities** ([Kleinberg, 1999](https://doi.org/10.1145/324133.324140)): a good hub links to good
# MAGIC authorities, a good authority is linked by good hubs. **Harmonic centrality**
# MAGIC ([Boldi and Vigna, 2014](https://doi.org/10.1080/15427951.2013.865686)): the sum of 1 / distance over all pages that
# MAGIC lead here.

# COMMAND ----------

for measure in ("hits", "harmonic"):
    centrality.run(spark, centrality.CentralityArgs(lake=lake, links=links, measure=measure))
display(table(spark, lake, "hits").join(table(spark, lake, "harmonic"), "id").orderBy("harmonic", ascending=False))
