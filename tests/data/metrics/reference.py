"""Writes reference.json: metrics of random scores and maps, computed with scikit-learn and scipy.

    pip install scikit-learn==1.9.1 scipy==1.17.1
    python reference.py > reference.json

Scores are drawn on coarse grids, so that many are equal, also between the two classes.
The maps' AUPRO is integrated here from its definition, over the regions that scipy labels.
"""

import json

import numpy as np
from scipy.ndimage import label
from sklearn.metrics import (
    auc,
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

LIMIT = 0.3


def ranking(random, good, defect, grid, shift):
    """Metrics of `good` and `defect` scores on a grid, the defects higher by `shift`."""
    draw = lambda n, centre: np.round(random.normal(centre, 1.0, n) * grid) / grid
    scores = np.concatenate([draw(good, 0.0), draw(defect, shift)]).astype(np.float32)
    truth = np.repeat([0, 1], [good, defect])
    precision, recall, thresholds = precision_recall_curve(truth, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    false_positives, true_positives, roc_thresholds = roc_curve(
        truth, scores, drop_intermediate=False
    )
    return {
        "good": scores[:good].tolist(),
        "defect": scores[good:].tolist(),
        "auroc": roc_auc_score(truth, scores),
        "average_precision": average_precision_score(truth, scores),
        "f1_max": f1.max(),
        # The first point is above every score and has no number for a threshold.
        "roc": np.stack([roc_thresholds, false_positives, true_positives], axis=1)[1:].tolist(),
        # Ascending thresholds; the last point of all has none.
        "precision_recall": np.stack([thresholds, precision[:-1], recall[:-1]], axis=1).tolist(),
    }


def aupro(maps, masks):
    """The area under the per-region overlap curve up to LIMIT, divided by it."""
    regions, good = [], []
    for values, mask in zip(maps, masks):
        labels, count = label(mask, structure=np.ones((3, 3)))
        regions += [values[labels == name] for name in range(1, count + 1)]
        good.append(values[labels == 0])
    good = np.concatenate(good)
    thresholds = np.unique(np.concatenate([good, *regions]))[::-1]
    x = np.array([0.0] + [np.mean(good >= t) for t in thresholds])
    y = np.array(
        [0.0] + [np.mean([np.mean(region >= t) for region in regions]) for t in thresholds]
    )
    # The curve is vertical where no good pixel is added: the last of such points counts.
    end = np.searchsorted(x, LIMIT, side="right")
    if end < len(x):
        share = (LIMIT - x[end - 1]) / (x[end] - x[end - 1])
        at_limit = y[end - 1] + share * (y[end] - y[end - 1])
        x, y = np.append(x[:end], LIMIT), np.append(y[:end], at_limit)
    return auc(x, y) / LIMIT, len(regions)


def overlap(random, sizes, grid, shift):
    """AUPRO of maps on a grid, higher by `shift` where there is a defect."""
    maps, masks = [], []
    for height, width in sizes:
        mask = random.random((height, width)) < 0.25
        values = random.normal(0.0, 1.0, (height, width)) + shift * mask
        maps.append((np.round(values * grid) / grid).astype(np.float32))
        masks.append(mask)
    area, regions = aupro(maps, masks)
    pictures = [
        {"values": values.tolist(), "is_defect": mask.astype(int).tolist()}
        for values, mask in zip(maps, masks)
    ]
    return {"pictures": pictures, "aupro": area, "regions": regions}


def main():
    random = np.random.default_rng(20)
    rankings = [
        ranking(random, good, defect, grid, shift)
        for good, defect, grid, shift in [
            (40, 25, 2, 1.0),
            (60, 9, 4, 2.0),
            (7, 50, 1, 0.3),
            (30, 30, 8, -0.5),
            (1, 12, 2, 0.0),
            (25, 1, 2, 1.5),
            (50, 50, 1024, 1.0),
        ]
    ]
    overlaps = [
        overlap(random, sizes, grid, shift)
        for sizes, grid, shift in [
            ([(6, 8), (5, 5)], 2, 1.0),
            ([(9, 7), (4, 10), (8, 8)], 8, 0.5),
            ([(12, 12)], 1, 2.0),
        ]
    ]
    print(json.dumps({"rankings": rankings, "overlaps": overlaps}))


main()
