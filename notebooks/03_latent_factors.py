# Databricks notebook source
# MAGIC %md
# MAGIC # Latent factors
# MAGIC
# MAGIC A rating is what everybody gives, plus how far this user and this item are off, plus how well their **factors**
# MAGIC fit ([Koren, Bell and Volinsky, 2009](https://doi.org/10.1109/MC.2009.263)):
# MAGIC
# MAGIC $$\hat r_{ui} = \mu + b_u + b_i + p_u^{\top} q_i$$
# MAGIC
# MAGIC They are learned by stochastic gradient descent: for each rating, a step against the error. Spark cuts the ratings
# MAGIC into blocks of users × items and works on blocks that share neither at the same time, so no step disturbs another
# MAGIC ([Gemulla et al., 2011](https://doi.org/10.1145/2020408.2020426)).
# MAGIC
# MAGIC **Your data:** set `source` to a MovieLens folder or zip, or to any CSV or Parquet with user, item and rating.

# COMMAND ----------

# MAGIC %pip install --quiet ..

# COMMAND ----------

dbutils.widgets.text("lake", "../build/notebooks/lake", "lake: folder or catalog.schema")
dbutils.widgets.text("source", "", "ratings (default: generated ones)")
dbutils.widgets.dropdown("model", "mf", ["mf", "svdpp", "timesvdpp", "bayesian"], "model")
dbutils.widgets.text("factors", "16", "factors K")
dbutils.widgets.text("epochs", "20", "passes over the ratings")
dbutils.widgets.text("scratch", "", "folder for blocks and checkpoints (catalogs)")

lake, source, scratch = (dbutils.widgets.get(name) for name in ("lake", "source", "scratch"))
model = dbutils.widgets.get("model")
factors, epochs = int(dbutils.widgets.get("factors")), int(dbutils.widgets.get("epochs"))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Ratings
# MAGIC
# MAGIC Rows that cannot be used go to `ratings_rejected` with the reason; of a user's repeated ratings the last counts.

# COMMAND ----------

import subprocess
import sys

from lakerank.report.page import render
from lakerank.report.sections import report_page
from lakerank.report.store import read_lake
from spark_jobs import ingest_ratings, lfm
from lakerank.spark.notebook import table

if not source:
    source = f"{lake}/generated" if "/" in lake else "/tmp/lakerank-generated"  # noqa: S108
    subprocess.run([sys.executable, "../examples/make_ratings.py", source], check=True)
ingest_ratings.run(spark, ingest_ratings.Args(lake=lake, source=source))
displayHTML(render(report_page(read_lake(spark, lake), lake, ["ratings", "rejected"])))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Training
# MAGIC
# MAGIC A tenth of the ratings is held back. The error on those is what counts: when it turns up while the error on the
# MAGIC others still falls, the model has begun to learn noise.

# COMMAND ----------

settings = lfm.LfmArgs(lake=lake, model=model, factors=factors, epochs=epochs, scratch=scratch)
summary = lfm.run(spark, settings)

# COMMAND ----------

displayHTML(render(report_page(read_lake(spark, lake), lake, ["learning"])))

# COMMAND ----------

# MAGIC %md
# MAGIC ## What the factors mean
# MAGIC
# MAGIC Nothing by themselves; but items that the same people like lie close together. Here are the two directions in
# MAGIC which they differ most.

# COMMAND ----------

displayHTML(render(report_page(read_lake(spark, lake), lake, ["taste"])))

# COMMAND ----------

display(table(spark, lake, "item_factors").limit(5))
