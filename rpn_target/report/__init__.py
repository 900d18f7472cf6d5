"""What ``rpn-target inspect`` and ``show`` report: how well anchors cover a dataset's objects.

========== ======================================================================================
module     holds
========== ======================================================================================
source     what a dataset is here: labels and image sizes, read without decoding
voc, coco, the datasets, read by GluonCV's own classes
lists
dataset_   the command-line arguments that name one
options
datasets   opening one from them
recipe     scales and ratios, and the anchors they make
scheme     the anchors of a network, and the size at which it sees an image
networks   opening one from command-line arguments
options    the other arguments
coverage   what the assignment says of the objects and anchor shapes of one image
tally      counts of objects by how well they are covered
summary    counts over images, which can be added up
workers    running over a dataset with processes
figures    the summary as plain numbers, what ``--json`` writes
rows       the figures as rows and sentences
text       the report for a terminal
page,      the report for a browser
sections,
markup,
style
plots      the pictures of the page
drawing    boxes on pictures
single,    one image, for ``show``
portrait
search     looking for better scales and ratios
suggest    measuring what the search has found
========== ======================================================================================
"""
