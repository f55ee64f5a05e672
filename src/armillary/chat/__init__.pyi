from .chat_model import (
    ChatModel as ChatModel,
    ChatSettings as ChatSettings,
    Completion as Completion,
    Message as Message,
    TokenCount as TokenCount,
    user as user,
)
from .endpoint import Endpoint as Endpoint, Patience as Patience
from .local import LocalChat as LocalChat
from .opening import open_chat as open_chat
