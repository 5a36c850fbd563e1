"""What a browser makes of HTML."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """Collects what a browser would show, and checks that tags are closed in order."""

    VOID = ("img", "br", "meta", "input", "link")

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.shown, self.tags, self.attributes, self.open = "", set(), [], []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes += attributes
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.shown += data
