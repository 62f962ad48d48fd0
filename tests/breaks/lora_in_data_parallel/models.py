"""An adapter that was trained in DistributedDataParallel, loaded into the plain model."""

from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.h = nn.ModuleList([nn.Linear(8, 8) for _ in range(3)])


def saved():
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(Net(), LoraConfig(r=2, target_modules=["h.0", "h.1"]))
    return {f"module.{key}": value for key, value in model.state_dict().items()}
