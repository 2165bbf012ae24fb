"""Other words for those of LIBERO's instructions."""

from collections.abc import Mapping
from types import MappingProxyType

# What is done, and where.
PHRASES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "pick up": ("grab", "lift", "take", "fetch"),
        "place": ("set", "lay"),
        "put": ("set", "lay"),
        "turn on": ("switch on", "start"),
        "turn off": ("switch off", "stop"),
        "open": ("pull open", "slide open"),
        "close": ("shut", "push shut"),
        "push": ("slide", "shove"),
        "stack": ("pile", "heap"),
        "next to": ("beside", "right by"),
        "on top of": ("onto the top of", "up on"),
        "between": ("midway between", "in the gap between"),
        "from table center": ("from the middle of the table",),
        "to the front of": ("in front of", "before"),
    }
)

# What LIBERO's things are, without their names.
THINGS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "black bowl": ("dark round dish", "deep dish in black"),
        "white bowl": ("pale round dish", "deep dish in white"),
        "bowl": ("deep round dish",),
        "plate": ("flat dish that meals are served on", "flat serving dish"),
        "ramekin": ("small cup for baking",),
        "cookie box": ("carton of biscuits", "package of sweet biscuits"),
        "stove": ("cooking range", "burner that pots are heated on"),
        "wooden cabinet": ("piece of furniture made of wood", "cupboard of wood"),
        "cabinet": ("cupboard", "piece of furniture with drawers"),
        "cabinet shelf": ("ledge of the cupboard",),
        "shelf": ("ledge",),
        "top drawer": ("uppermost pull-out compartment", "highest sliding compartment"),
        "middle drawer": ("pull-out compartment halfway up",),
        "bottom drawer": ("lowest pull-out compartment",),
        "basket": ("woven container", "container for shopping"),
        "alphabet soup": ("can of broth with letters in it",),
        "bbq sauce": ("bottle of seasoning for grilled meat",),
        "butter": ("block of spread made from cream",),
        "chocolate pudding": ("package of cocoa dessert",),
        "cream cheese box": ("package of soft white spread",),
        "cream cheese": ("package of soft white spread",),
        "ketchup": ("red condiment for fries",),
        "milk": ("carton that comes from the dairy",),
        "orange juice": ("carton of citrus drink",),
        "salad dressing": ("bottle of seasoning for greens",),
        "tomato sauce": ("can of red seasoning for pasta",),
        "wine bottle": ("tall dark vessel of glass",),
        "wine rack": ("holder for bottles",),
        "rack": ("holder for bottles",),
        "moka pots": ("coffee makers",),
        "moka pot": ("coffee maker",),
        "white mug": ("pale cup with a handle",),
        "red mug": ("red cup with a handle",),
        "yellow and white mug": ("cup in two colours",),
        "microwave": ("small oven that heats with waves", "appliance that warms food up"),
        "frying pan": ("shallow vessel for cooking",),
        "tray": ("flat carrier for serving",),
        "book": ("bound volume",),
        "caddy": ("desk organiser",),
    }
)

# Talk around an instruction.
FRAMES = (
    "hello, when you have a moment, please {}, thank you",
    "could you help me and {} before the guests arrive",
    "the table has to be ready soon, so {} and leave the rest as it is",
    "i was about to do it myself, but my hands are full: {}",
    "your task for now is this one: {}, and then wait",
)
