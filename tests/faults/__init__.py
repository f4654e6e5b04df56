"""The fault suite: a load of people, a driver that breaks things from a seed, and a checker that trusts nobody."""
