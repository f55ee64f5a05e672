from .images.drawings import EmojiLabel as EmojiLabel
from .images.emoji import Emoji as Emoji, fetch_emoji as fetch_emoji, load_emoji as load_emoji
from .images.questions import (
    COLOURS as COLOURS,
    IMAGE_TASKS as IMAGE_TASKS,
    ImageExample as ImageExample,
    answer_counts as answer_counts,
    dominant_colour as dominant_colour,
    group_codes as group_codes,
    image_examples as image_examples,
)
from .relations.relation import Group as Group, Relation as Relation, load_relation_file as load_relation_file
from .relations.shipped import (
    PROMPTS as PROMPTS,
    prompt_words as prompt_words,
    relation as relation,
    relation_ids as relation_ids,
)
from .sources import DataSource as DataSource, sources_of as sources_of
from .texts.capability import (
    capabilities as capabilities,
    capability_counts as capability_counts,
    capability_source as capability_source,
    capability_texts as capability_texts,
    equal_capability_texts as equal_capability_texts,
)
from .texts.corpora import corpora as corpora, corpus_source as corpus_source, corpus_texts as corpus_texts
