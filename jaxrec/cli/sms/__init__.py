"""The group `jaxrec sms`: prediction on images, drawings, checks of a folder of images, and challenge metrics."""
