"""The report as one page of HTML: what it shows of a verdict, the trees side by side, and the page itself."""
