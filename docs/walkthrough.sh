#!/usr/bin/env bash
# From a folder of images and a table to a model that others can call, against a real MLflow server on this machine.
# walkthrough.md tells what each step does and what it printed.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: docs/walkthrough.sh --data FOLDER --weights FILE [--work FOLDER] [--image_size 256] [--epochs 15] [--every 1] [--keep]

  --data FOLDER     labels.csv with the columns image, label, split, sex, and the images it names
  --weights FILE    weights of timm's vit_tiny_patch16_224
  --work FOLDER     gets everything that is made; must be new (default: walkthrough_run)
  --image_size N    pixels to which images are resized for the backbone
  --epochs N        of the training
  --every N         take only every Nth row of the table
  --keep            leave the MLflow server running at the end, until Enter is pressed

monai-fpt, mlflow and python are taken from PATH: activate the environment first.
TEXT
}

data="" weights="" work=walkthrough_run image_size=256 epochs=15 every=1 keep=false
while [ $# -gt 0 ]; do
    case $1 in
        --keep) keep=true; shift; continue ;;
        --data | --weights | --work | --image_size | --epochs | --every) ;;
        --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
    [ $# -gt 1 ] || { usage >&2; exit 2; }
    printf -v "${1#--}" %s "$2"
    shift 2
done
if [ -z "$data" ] || [ -z "$weights" ]; then usage >&2; exit 2; fi
[ -f "$data/labels.csv" ] || { echo "error: there is no $data/labels.csv; give the folder that holds it as --data." >&2; exit 1; }
[ -f "$weights" ] || { echo "error: there is no file $weights; give the backbone's weights as --weights." >&2; exit 1; }
[ ! -e "$work" ] || { echo "error: $work exists already; give a new folder as --work, or delete it." >&2; exit 1; }
mkdir -p "$work"
data=$(cd "$data" && pwd) work=$(cd "$work" && pwd)
weights=$(cd "$(dirname "$weights")" && pwd)/$(basename "$weights")
run=$work/run name=skin-lesions

# --- every background process has a process group of its own, and is stopped when the script ends, however it ends
groups=()
stop() {
    for group in ${groups[@]+"${groups[@]}"}; do kill -TERM -- "-$group" 2> /dev/null || true; done
    for group in ${groups[@]+"${groups[@]}"}; do
        for _ in $(seq 50); do kill -0 -- "-$group" 2> /dev/null || break; sleep 0.2; done
        kill -KILL -- "-$group" 2> /dev/null || true
    done
    groups=()
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
background() { # LOG COMMAND...
    local log=$1
    shift
    set -m
    "$@" > "$log" 2>&1 < /dev/null &
    groups+=($!)
    set +m
}
wait_for() { # ADDRESS LOG
    for _ in $(seq 120); do
        if curl --silent --fail --output /dev/null "$1"; then return; fi
        kill -0 -- "-${groups[-1]}" 2> /dev/null || break
        sleep 1
    done
    echo "error: nothing answers at $1; see $2:" >&2
    tail -n 20 "$2" >&2
    exit 1
}
free_port() { python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
step() { printf '\n=== %s\n' "$*"; }

export MLFLOW_DISABLE_TELEMETRY=true
export MONAI_FPT_BACKBONE=$weights # the registry keeps what was learned, and a reference to the backbone

step "1 an MLflow server: SQLite store, this machine only"
port=$(free_port)
export MLFLOW_TRACKING_URI=http://127.0.0.1:$port
background "$work/server.log" mlflow server --backend-store-uri "sqlite:///$work/mlflow.db" \
    --artifacts-destination "$work/artifacts" --host 127.0.0.1 --port "$port" --workers 1
wait_for "$MLFLOW_TRACKING_URI/health" "$work/server.log"
echo "MLflow answers at $MLFLOW_TRACKING_URI"

step "2 train: features once, then the adapter; tracked as it goes"
awk -v every="$every" 'NR == 1 || (NR - 2) % every == 0' "$data/labels.csv" > "$work/labels.csv"
monai-fpt train --config dermoscopy --dataset_dir "$data" --data_list "$work/labels.csv" --subgroups '["sex"]' \
    --backbone vit_tiny_patch16_224 --backbone_weights "$weights" --image_size "$image_size" \
    --max_epochs "$epochs" --learning_rate 0.002 --run_name walkthrough --run_dir "$run" 2> "$work/train.log" || {
    tail -n 20 "$work/train.log" >&2
    exit 1
}

step "3 register: version 1 of $name, called challenger"
monai-fpt register --run_dir "$run" --name "$name" --backbone_licence apache-2.0

step "4 promote: the first champion"
monai-fpt promote --name "$name"

step "5 load the champion in a new process: are these the logits of the training?"
python - "$run" "$data" "models:/$name@champion" "$work/logits.json" <<'PYTHON'
import json
import sys
from pathlib import Path

import numpy as np
import torch
from monai.transforms import Compose

from monai_fpt.data import FPTDataList
from monai_fpt.features import FeatureDataset, FeatureStore
from monai_fpt.metrics import FPTPredictions
from monai_fpt.registry import load_registered
from monai_fpt.transforms import FPTNormalized, FPTResized

run, data, uri, answer = sys.argv[1:]
trained = FPTPredictions.load(f"{run}/test_predictions.json")  # what the training process computed
predictor = load_registered(uri)
network = predictor.network
normalization = predictor.card.normalization(network.backbone.mean, network.backbone.std)
small = Compose([FPTResized("image", network.side_size), FPTNormalized("image", **normalization)])
test = FPTDataList.load(f"{run}/data_list.json", data).test
images = FeatureDataset(test, FeatureStore(f"{run}/features"), transform=small)
with torch.no_grad():
    batches = torch.utils.data.DataLoader(images, batch_size=16)
    loaded = torch.cat([network(batch["image"].as_subclass(torch.Tensor), batch["features"]) for batch in batches])
cached = loaded.double().numpy()
files = np.array([one.logits for one in predictor.predict([item["image"] for item in test[:16]])])
found = {
    "images": len(test),
    "same_order": [item["key"] for item in test] == list(trained.keys),
    "bit_equal": bool(np.array_equal(cached, trained.logits)),
    "largest_difference_from_files": float(np.abs(files - trained.logits[:16]).max()),
}
Path(answer).write_text(json.dumps(found))
print(f"{found['images']} test images, from the feature cache in batches of 16: bit-equal {found['bit_equal']}")
print(f"16 of them from their files, without the float16 cache: differ by at most {found['largest_difference_from_files']:.1e}")
sys.exit(not (found["bit_equal"] and found["same_order"]))
PYTHON

step "6 serve the champion"
serving=$(free_port)
background "$work/serve.log" mlflow models serve -m "models:/$name@champion" --env-manager local --host 127.0.0.1 -p "$serving"
wait_for "http://127.0.0.1:$serving/ping" "$work/serve.log"
echo "the champion answers at http://127.0.0.1:$serving/invocations"

step "7 ask with curl: a JPEG, and the same photograph as DICOM"
jpeg=$data/$(awk -F, '$3 == "test" && $2 == "malignant" { print $1; exit }' "$work/labels.csv")
python - "$jpeg" "$work/photograph.dcm" <<'PYTHON'
import sys

from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

image = Image.open(sys.argv[1]).convert("RGB")
dicom = Dataset()
dicom.file_meta = FileMetaDataset()
dicom.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
dicom.file_meta.MediaStorageSOPClassUID = dicom.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.4"  # VL Photographic Image
dicom.file_meta.MediaStorageSOPInstanceUID = dicom.SOPInstanceUID = generate_uid()
dicom.Modality, dicom.PhotometricInterpretation = "XC", "RGB"
dicom.SamplesPerPixel, dicom.PlanarConfiguration, dicom.PixelRepresentation = 3, 0, 0
dicom.Rows, dicom.Columns = image.height, image.width
dicom.BitsAllocated, dicom.BitsStored, dicom.HighBit = 8, 8, 7
pixels = image.tobytes()
dicom.PixelData = pixels + b"\0" * (len(pixels) % 2)
dicom["PixelData"].VR = "OB"
dicom.preamble = b"\0" * 128
dicom.save_as(sys.argv[2])
PYTHON
ask() { # FILE
    printf '{"dataframe_split": {"columns": ["image"], "data": [["%s"]]}}' "$(base64 < "$1" | tr -d '\n')" |
        curl --silent --show-error --fail-with-body -H 'Content-Type: application/json' --data-binary @- \
            "http://127.0.0.1:$serving/invocations"
}
ask "$jpeg" > "$work/jpeg.json"
ask "$work/photograph.dcm" > "$work/dicom.json"
echo "JPEG:  $(cat "$work/jpeg.json")"
echo "DICOM: $(cat "$work/dicom.json")"

step "8 evaluate, as a run of its own"
monai-fpt evaluate --run_dir "$run" --dataset_dir "$data" --subgroups '["sex"]' --run_name "walkthrough, evaluated" 2> "$work/evaluate.log" || {
    tail -n 20 "$work/evaluate.log" >&2
    exit 1
}

step "9 to look at"
echo "report:   $run/evaluation/report.html"
if $keep; then
    training="?workflowType=machine_learning" # MLflow's pages for models; by default it shows those for chats
    echo "runs:     $MLFLOW_TRACKING_URI/$training#/experiments"
    echo "model:    $MLFLOW_TRACKING_URI/$training#/models/$name"
    read -r -p "Press Enter to stop the servers. "
else
    echo "MLflow:   mlflow ui --backend-store-uri sqlite:///$work/mlflow.db --artifacts-destination $work/artifacts"
fi
