# Databricks notebook source
# MAGIC %md
# MAGIC # Recommend
# MAGIC
# MAGIC Four models that know different things, and a blend of them:
# MAGIC
# MAGIC | model | what it knows | good for |
# MAGIC |---|---|---|
# MAGIC | **latent factors** (`lfm`) | how much somebody will like it | ratings |
# MAGIC | **neighbours** | what is chosen by the same people (cosine, Jaccard, …) | what comes next |
# MAGIC | **linear** (EASE, [Steck, 2019](https://doi.org/10.1145/3308558.3313710)) | how much each choice says for each other | what comes next |
# MAGIC | **content** | genres, tags, words of the title, year | items nobody has rated yet |
# MAGIC
# MAGIC The blend's weights are learned on ratings held back. Run `03_latent_factors` first: it puts the ratings into the lake.

# COMMAND ----------

# MAGIC %pip install --quiet ..

# COMMAND ----------

dbutils.widgets.text("lake", "../build/notebooks/lake", "lake: folder or catalog.schema")
dbutils.widgets.text("top", "10", "items per user")
dbutils.widgets.text("genre", "", "only these genres, with commas between")
dbutils.widgets.text("compare", "popular,neighbors,linear", "models to compare")
dbutils.widgets.text("scratch", "", "folder all workers mount, for arrays")

lake, genre, compare, scratch = (dbutils.widgets.get(name) for name in ("lake", "genre", "compare", "scratch"))
top = int(dbutils.widgets.get("top"))

# COMMAND ----------

from lakerank.report.page import render
from lakerank.report.sections import report_page
from lakerank.report.store import read_lake
from spark_jobs import content, evaluate, linear, neighbors, recommend
from lakerank.spark.notebook import table

neighbors.run(spark, neighbors.NeighborsArgs(lake=lake, scratch=scratch))
linear.run(spark, linear.LinearArgs(lake=lake, scratch=scratch))
content.run(spark, content.ContentArgs(lake=lake, method="model", scratch=scratch))

# COMMAND ----------

# MAGIC %md
# MAGIC ## What is alike
# MAGIC
# MAGIC Neighbours of an item are those rated by the same people, more than chance would have it.

# COMMAND ----------

titles = table(spark, lake, "items").select("item_id", "title")
alike = table(spark, lake, "similar_items").where("rank <= 3").join(titles, "item_id")
others = titles.withColumnsRenamed({"item_id": "other_id", "title": "is_like"})
display(alike.join(others, "other_id").select("title", "rank", "is_like", "similarity").orderBy("title", "rank"))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Recommendations, and why
# MAGIC
# MAGIC Each row says where it comes from. With `explain` the parts of each score are written too, and add up to it.

# COMMAND ----------

recommend.run(
    spark, recommend.RecommendArgs(lake=lake, model="blend", top=top, genre=genre, explain=True, scratch=scratch)
)
displayHTML(render(report_page(read_lake(spark, lake), lake, ["recommendations"])))

# COMMAND ----------

display(table(spark, lake, "explanations").orderBy("user_id", "rank").limit(50))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Which is best here
# MAGIC
# MAGIC The last item of each user is held back; a model is good if it stands high in what it would have recommended. The
# MAGIC intervals are from resampled users: where they overlap widely, the data cannot tell.

# COMMAND ----------

settings = evaluate.EvaluateArgs(lake=lake, models=compare, split="leave-one-out", scratch=scratch)
summary = evaluate.run(spark, settings)
display(table(spark, lake, "recommender_metrics").where("user_group = 'all'").orderBy("metric", "value"))
