"""The tables. What people write (bodies, titles, reasons) is sealed bytes; everything else is metadata."""

from app.core.models.base import Base, new_id, now
from app.core.models.chat import Message, Session, Turn
from app.core.models.discord import DiscordAnswer, DiscordChat, DiscordLink, DiscordTree, LinkCode
from app.core.models.figures import Metric, MetricRollup, MetricSum, RollupMark, Sample, SampleRollup, UsageRollup
from app.core.models.keeping import Backup, Scheduled, Transcript
from app.core.models.limits import Limit
from app.core.models.nodes import Channel, Node
from app.core.models.people import ApiToken, Identity, Invitation, Login, User
from app.core.models.safety import Erasure, KeyRotation
from app.core.models.shares import Share
from app.core.models.trail import AuditRecord

__all__ = (
    "ApiToken",
    "AuditRecord",
    "Backup",
    "Base",
    "Channel",
    "DiscordAnswer",
    "DiscordChat",
    "DiscordLink",
    "DiscordTree",
    "Erasure",
    "Identity",
    "Invitation",
    "KeyRotation",
    "Limit",
    "LinkCode",
    "Login",
    "Message",
    "Metric",
    "MetricRollup",
    "MetricSum",
    "Node",
    "RollupMark",
    "Sample",
    "SampleRollup",
    "Scheduled",
    "Session",
    "Share",
    "Transcript",
    "Turn",
    "UsageRollup",
    "User",
    "new_id",
    "now",
)
