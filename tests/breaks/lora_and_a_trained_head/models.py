"""An adapter with a head that was trained in whole, loaded into the plain model."""

from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(4, 8)
        self.neck = nn.Linear(8, 8)
        self.head = nn.Linear(8, 12)

    def forward(self, x):
        return self.head(self.neck(self.body(x)))


def saved():
    from peft import LoraConfig, get_peft_model

    return get_peft_model(
        Net(), LoraConfig(r=2, target_modules=["body"], modules_to_save=["head"])
    ).state_dict()
