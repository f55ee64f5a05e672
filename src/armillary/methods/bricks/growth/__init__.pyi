from .growing import grow_layers as grow_layers, grow_neurons as grow_neurons, split_neurons as split_neurons
from .grown import Grown as Grown, Preservation as Preservation, model_copy as model_copy, preservation as preservation
from .partial_training import (
    TrainingParts as TrainingParts,
    adapter_training as adapter_training,
    neuron_training as neuron_training,
    train_on_texts as train_on_texts,
    train_only_new as train_only_new,
)
from .upcycling import (
    Mixture as Mixture,
    add_expert as add_expert,
    mixtures as mixtures,
    open_experts as open_experts,
    router_losses as router_losses,
    split_into_experts as split_into_experts,
    through_expert as through_expert,
    to_mixtral as to_mixtral,
    upcycle as upcycle,
)
