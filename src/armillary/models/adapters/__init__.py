"""Adapters (LoRA in the folders of PEFT): read exactly or refused, merged into their base or switched on and off."""
