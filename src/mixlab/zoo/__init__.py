"""Model zoo: sizes, cards of published weights, the result tables of the papers, and models of timm."""
