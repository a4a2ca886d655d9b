# Databricks notebook source
# MAGIC %md
# MAGIC # Super-resolution
# MAGIC
# MAGIC A picture four times larger: a network guesses the detail that was lost. It learns from pictures that Spark cuts into
# MAGIC **patches** in Parquet, each with its reduced copy, which Petastorm streams to PyTorch. First it learns to be right on
# MAGIC average (**SRResNet**), then to be believed by a second network that looks for fakes (**SRGAN**,
# MAGIC [Ledig et al., 2017](https://doi.org/10.1109/CVPR.2017.19)).
# MAGIC
# MAGIC **Your data:** set `pictures` to a folder of PNG, JPEG, WebP or TIFF, or a tar or zip of them (DIV2K's zips as they
# MAGIC are). This machine needs a GPU to learn much; the defaults here only show the way, in seconds, on a CPU.

# COMMAND ----------

# MAGIC %pip install --quiet ..[sr-runtime]

# COMMAND ----------

# MAGIC %pip install --quiet --no-deps petastorm==0.13.1

# COMMAND ----------

dbutils.widgets.text("work", "../build/notebooks/sr", "folder for patches, weights, results")
dbutils.widgets.text("pictures", "", "pictures to learn from (default: a drawn one)")
dbutils.widgets.text("config", "tiny-cpu", "settings of the training")
dbutils.widgets.text("seconds", "20", "seconds to train")

work, pictures = dbutils.widgets.get("work"), dbutils.widgets.get("pictures")
config, seconds = dbutils.widgets.get("config"), float(dbutils.widgets.get("seconds"))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Patches

# COMMAND ----------

import subprocess
import sys

from spark_jobs import make_patches
from lakerank.cli.settings import parse_args
from sr_model import evaluate, train, upscale

held_back = f"{work}/held-back"
subprocess.run([sys.executable, "../examples/picture.py", f"{held_back}/house.png"], check=True)
if not pictures:
    pictures = f"{work}/drawn"
    subprocess.run([sys.executable, "../examples/picture.py", f"{pictures}/other.png"], check=True)
make_patches.run(spark, make_patches.MakePatchesArgs(lake=work, source=pictures, store_lr=True))
display(spark.read.parquet(f"{work}/patches/train").drop("hr", "lr").limit(5))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Training
# MAGIC
# MAGIC A setting file for each purpose: `tiny-cpu` (minutes on two cores), `srresnet` and `srgan` (the paper's), and others in
# MAGIC [training](../docs/training.md). Stopped, it goes on with `--resume auto`.

# COMMAND ----------

flags = ["--config", config, "--data", f"{work}/patches/train", "--out", f"{work}/run", "--seconds", f"{seconds:g}"]
settings = parse_args(train.TrainConfig, "train", train.__doc__ or "", train.as_flags(flags))
trained = train.run(settings)

# COMMAND ----------

# MAGIC %md
# MAGIC ## How good it is
# MAGIC
# MAGIC Beside bicubic interpolation, on a picture that was held back, and so are the bundled weights (`tiny`, trained
# MAGIC for 80 minutes). PSNR and SSIM: higher is better.

# COMMAND ----------

import pandas as pd

rows = []
for name, weights in (("trained here", trained["weights"]), ("tiny", "tiny")):
    out = f"{work}/scores-{name.replace(' ', '-')}"
    scores = evaluate.run(evaluate.EvaluateArgs(data=held_back, checkpoint=weights, out=out, metrics="psnr_y,ssim_y"))
    rows += [{"upscaler": name, **scores["model"]}]
rows += [{"upscaler": "bicubic", **scores["bicubic"]}]
display(pd.DataFrame(rows))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Look at it
# MAGIC
# MAGIC What it was given, bicubic, the network, and what it should be.

# COMMAND ----------

import base64
from pathlib import Path

picture = base64.b64encode(Path(f"{out}/held-back/house.png").read_bytes()).decode()
displayHTML(f'<img alt="LR, bicubic, network, HR" style="max-width: 100%" src="data:image/png;base64,{picture}">')

# COMMAND ----------

# MAGIC %md
# MAGIC And four times larger than it is:

# COMMAND ----------

upscale.run(
    upscale.UpscaleArgs(input=f"{held_back}/house.png", output=f"{work}/house-x4.png", checkpoint="tiny", force=True)
)
