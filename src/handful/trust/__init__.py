"""Trust: what photos, labels and figures are worth."""
