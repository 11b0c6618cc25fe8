"""Detections against ground truth: the figures of Darknet, PASCAL VOC and COCO.

    tables       DetectionTable and GroundTruthTable: the objects of all images, in columns
    matching     pairs of detections and ground truths of one image: IoU, best match, first match
    curves       precision over recall of a class, and the area below it
    darknet      true and false positives, AP and counts, as AlexeyAB's `detector map`
    voc          AP by the rules of VOC 2007 and 2010
    coco         COCO's twelve figures, computed by faster-coco-eval
    confusion    the confusion matrix of a detector
    top_k        the accuracy of a classifier

All but `top_k` take the same two tables:

    darknet.match(detections, ground_truth, classes).average_precisions()    # (C,)
    voc.evaluate(detections, ground_truth, classes).map07
    coco.evaluate(detections, ground_truth, classes, sizes).figures["AP"]
    confusion.matrix(detections, ground_truth, classes)                      # (C + 1, C + 1)
"""
