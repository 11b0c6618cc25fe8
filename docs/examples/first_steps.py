"""First steps: load a network by name, detect, filter, draw, save.

    python docs/examples/first_steps.py

The weights of yolov4-tiny (24 MB) are fetched at the first run and kept. It prints:

    Detections(5): cat 0.84, cup 0.74, person 0.74, cell phone 0.36, diningtable 0.31
    sure: Detections(3): cat 0.84, cup 0.74, person 0.74
    living: Detections(2): cat 0.84, person 0.74
    cat: score 0.84, left 369, top 295, right 738, bottom 511
    person: score 0.74, left 5, top 11, right 304, bottom 502
    first_steps.png: 768 x 512 pixels
    first_steps.txt: 2 lines

and writes the image with the boxes, and the boxes as lines of Darknet's labels.
"""

from pathlib import Path

import darknet_torch as dt

model = dt.load("yolov4-tiny")  # a torch.nn.Module; dt.load("my.cfg", "my.weights") for files
detections = dt.detect(model, dt.SAMPLE)  # of one image; a list of images gives a list
assert isinstance(detections, dt.Detections)
print(detections)

sure = detections[detections.score > 0.7]  # a mask of torch; slices and lists of indices do too
print(f"sure: {sure}")
living = sure.filter(classes=["cat", "person", "dog"])
print(f"living: {living}")

for box, score, _, name in living:  # boxes are left, top, right, bottom in pixels
    left, top, right, bottom = (round(side) for side in box)
    print(f"{name}: score {score:.2f}, left {left}, top {top}, right {right}, bottom {bottom}")

drawn = living.draw()  # a PIL image
drawn.save("first_steps.png")
print(f"first_steps.png: {drawn.width} x {drawn.height} pixels")

labels = living.to_yolo()  # or to_json(), to_coco(), to_voc(), to_supervision()
Path("first_steps.txt").write_text(labels)
print(f"first_steps.txt: {len(labels.splitlines())} lines")
