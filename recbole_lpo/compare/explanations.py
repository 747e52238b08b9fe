"""What stands below the tables of a comparison."""

MARKS = "Best of a column bold, second underlined."
SPREAD = (
    "Mean over seeds, with their standard deviation where there are several. Trials: how many settings were tried on "
    "validation items before (0: the defaults, or what was given)."
)
NO_LOSS = (
    "Each method under the largest t (as below) at which it is not below {baseline} overall on validation items; the "
    "figures are on test items. Gained: over {baseline} as it was run. p: of the tail's gain, tested and corrected as "
    "above. Methods that are below {baseline} overall at every t are left out."
)
CURVE = (
    "The same models ranked by score - t * log(training share of the item), without any training: what a method must "
    "beat at the same overall accuracy. Choose t on validation items (`adjusted` in each metrics.json), not here."
)
HOW_TESTED = (
    "Difference with its 95 % bootstrap interval over users (each user's value averaged over seeds). p users: "
    "randomisation test over users, 10,000 sign patterns; p seeds: paired t test over seeds; both corrected for the "
    "number of comparisons (Holm). Effect: mean difference / its standard deviation over users. HR is tested too, see "
    "table.csv. A test over users speaks of these trained models, one over seeds of the method. Over the curve: what "
    "it has on the tail beyond what {baseline} reaches by post-hoc adjustment (below) at the same overall value, "
    "with its interval, not corrected."
)
BOTH_TAILS = (
    "The same ranks under two definitions of the tail, whichever the runs were trained with: the least popular 80 % of "
    "the items, as the text of LPO4Rec has it, and 20 %, as its released code does; by tenths of the catalogue, to "
    "within one item. Gained: over {baseline}; p as above, corrected for this table."
)
