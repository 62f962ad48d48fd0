"""A constructor that downloads the backbone's weights."""

import urllib.error

from torch import nn


def download(url):
    with open("calls.txt", "a") as file:
        file.write("x")
    raise urllib.error.URLError("[Errno -2] Name or service not known")


class Net(nn.Module):
    def __init__(self, pretrained=True):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        if pretrained:
            self.load_state_dict(download("https://example.org/backbone.pt"))


def saved():
    return Net(pretrained=False).state_dict()
