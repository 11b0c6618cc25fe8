"""Convert a network to ONNX and run it in OpenCV 5, which no longer reads Darknet's files.

    python docs/examples/convert_for_opencv5.py

It needs `pip install ".[onnx,opencv]"`; the weights of yolov4-tiny (24 MB) are fetched
at the first run and kept. It prints:

    yolov4-tiny.onnx: boxes (1, 2535, 4), scores (1, 2535, 80)
    cat: 0.84 at 368, 295, 739, 511
    person: 0.75 at 7, 11, 303, 501
    cup: 0.74 at 462, 9, 679, 251
    diningtable: 0.32 at 336, 2, 774, 347
    cell phone: 0.28 at 31, 482, 109, 512
    in PyTorch: Detections(5): cat 0.84, cup 0.74, person 0.74, cell phone 0.36, diningtable 0.31
    in OpenCV:  Detections(5): cat 0.84, cup 0.74, person 0.74, cell phone 0.36, diningtable 0.31

`run` below needs OpenCV and NumPy only: copy it into a program that knows nothing of darknet_torch.
Its scores differ a little because OpenCV decodes and resizes images in its own way; in the last
line OpenCV runs the same file on an image that was resized as Darknet does it.
"""

from typing import Any

import cv2
import numpy as np

import darknet_torch as dt

THRESHOLD, OVERLAP = 0.25, 0.45
"""Lowest score of a detection; IoU above which the weaker of two boxes of a class goes."""


def run(path: str, image: Any, size: tuple[int, int]) -> list[tuple[int, float, Any]]:
    """Return (class index, score, [left, top, right, bottom] in pixels) of an image (H, W, 3) BGR.

    size: width and height of the network's input, in pixels.
    """
    net = cv2.dnn.readNetFromONNX(path)
    # The file wants RGB in 0..1, and this network an image that is stretched to its input.
    net.setInput(cv2.dnn.blobFromImage(image, 1 / 255, size, swapRB=True))
    boxes, scores = net.forward(["boxes", "scores"])
    print(f"{path}: boxes {boxes.shape}, scores {scores.shape}")

    height, width = image.shape[:2]
    corners = boxes[0] * (width, height, width, height)  # fractions of the input -> pixels
    number, class_id = (scores[0] > THRESHOLD).nonzero()
    corners, score = corners[number], scores[0][number, class_id]
    sized = np.hstack((corners[:, :2], corners[:, 2:] - corners[:, :2]))  # left, top, width, height
    kept = cv2.dnn.NMSBoxesBatched(
        sized.tolist(), score.tolist(), class_id.tolist(), THRESHOLD, OVERLAP
    )
    return [(int(class_id[i]), float(score[i]), corners[i]) for i in kept]


def main() -> None:
    """Export, run in OpenCV, compare with PyTorch."""
    model = dt.load("yolov4-tiny")
    dt.export(model, "yolov4-tiny.onnx", contents="boxes")
    image = cv2.imread(str(dt.SAMPLE))
    for class_id, score, box in run("yolov4-tiny.onnx", image, model.input_size):
        sides = ", ".join(f"{side:.0f}" for side in box)
        print(f"{model.names[class_id]}: {score:.2f} at {sides}")

    print("in PyTorch:", dt.detect(model, dt.SAMPLE))
    converted = dt.load("yolov4-tiny.onnx", engine="opencv")  # the same file, all done for you
    print("in OpenCV: ", dt.detect(converted, dt.SAMPLE))


if __name__ == "__main__":
    main()
