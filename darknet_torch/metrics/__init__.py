"""How good detections are: Darknet's figures, VOC's and COCO's, from the same two tables.

    found, marked = table.found(...), table.marked(...)      # all pictures, in columns
    darknet.evaluate(found, marked, classes)                 # `detector map`
    voc.evaluate(found, marked, classes)                     # VOC07, VOC10
    coco.evaluate(found, marked, classes, sizes)             # COCO's twelve figures

`pairing` finds for each detection the truth that it overlaps most; Darknet and VOC count on that.
"""
