r"""Labelled pairs of our own writing for `bench_grading`: a gold, right answers, wrong answers.

Right and wrong were decided by hand, before any grader saw them.
"""

from __future__ import annotations

# Kind of difficulty: rows of (gold, answers that are right, answers that are wrong), in a box.
BOXED: dict[str, list[tuple[str, tuple[str, ...], tuple[str, ...]]]] = {
    "letter case": [
        (r"\frac{V}{v}", (r"\frac{V}{v}", "V/v"), ("1", "v/V", "V")),
        ("K^2-k^2", ("(K-k)(K+k)", "-k^2+K^2"), ("0", "k^2-K^2", "(k-K)(k+K)")),
        ("P_{1}", ("P_1", r"P_{1}"), ("p_1", "P_2", "P")),
        (r"\Gamma", (r"\Gamma", "Γ"), (r"\gamma", "0.577216")),
        ("E", ("E",), ("e", "2.718282")),
        (r"T=2\pi\sqrt{\frac{L}{g}}", (r"2\pi\sqrt{L/g}",), (r"t=2\pi\sqrt{\frac{l}{G}}",)),
    ],
    "what cannot be read": [
        ("7", ("7", "7.0", "(7)", r"\mathbf{7}", r"7\text{ metres}", "**7**", "= 7"), ()),
        ("7", (), (r"\ne 7", "< 7", r"\le 7", r"7\ldots", "7 or 8", r"7\mathrm{i}", "7/", "7)")),
        ("7", (), (r"7\mathbb{N}", r"7_x", "7 8", "7'8", r"\text{not }7", r"7\text{ at least}")),
        ("7", (), (r"\cancel{7}", r"7\pm 1", r"7\text{ million}", "7x", r"x\neq 7", "f(7)")),
        (r"7\sqrt{3}", (r"7\sqrt(3)", "7√3", r"\sqrt{147}"), ("7", r"\sqrt{21}", "73")),
        ("4000000", ("4 million", r"4\text{ million people}"), ("4", "4 thousand")),
        ("2-e", (r"2-\mathrm{e}",), ("2", "2-d")),
    ],
    "derivatives": [
        (
            r"\frac{d p}{d t}=r p-h",
            (r"\frac{dp}{dt}+h=rp", "dp/dt = rp - h"),
            (r"rp=h", r"\frac{dp}{dt}=h-rp", "0=rp-h", r"\frac{dt}{dp}=rp-h"),
        ),
        ("z''+4z=0", (r"z^{\prime\prime}=-4z",), ("z'+4z=0", "5z=0", "4z=0")),
        (
            r"\frac{\partial w}{\partial s}=c",
            (r"\frac{\partial w}{\partial s}=c",),
            ("0=c", "w=cs"),
        ),
        (
            r"\frac{d^2 q}{d t^2}",
            (r"\frac{d^{2}q}{dt^{2}}",),
            ("0", r"\frac{dq}{dt}", r"\frac{q}{t^2}"),
        ),
    ],
    "letters in an order": [
        ("CADB", ("CADB", r"\text{CADB}"), ("ABCD", "CABD", "0")),
        (r"\text{stone}", ("stone", r"\text{Stone}"), ("notes", r"\text{onset}")),
        ("HTTH", ("HTTH",), ("THHT", "HHTT")),
        ("pqr", ("rqp", "q p r"), ("pq", "pqs")),
    ],
    "spaces and separators": [
        (
            "7250",
            (r"7\,250", "7 250", "7~250", "7\u202f250", "7,250", r"7{,}250"),
            ("7", "1750", "0"),
        ),
        ("1048576", (r"1\,048\,576", "1 048 576", "1,048,576"), ("1", r"1\,048\,57", "1048,576,0")),
        ("12", ("12",), ("1,2", "1 2", r"1\,2")),
    ],
    "beyond ASCII": [
        ("81", ("9²", "３⁴", "８１"), ("9", "9¹", "92")),
        ("-6", ("−6", "–6", "－6"), ("6",)),
        (r"\frac{7}{2}", ("3½", "7⁄2"), ("3", "31/2", "½")),
        (r"3-2\sqrt{7}", ("3−2√7", "3 − 2√(7)"), ("3-27", "3+2√7", "3-2")),
        (r"(-\infty, 4]", ("(−∞, 4]", "x ≤ 4"), ("(−∞, 4)", "x ≥ 4")),
        (r"\frac{3\pi}{4}", ("3π/4", "¾π"), ("3/4", "4π/3")),
    ],
    "repeating decimals": [
        (
            r"\frac{5}{9}",
            (r"0.\overline{5}", "0.(5)", "0.555...", r"0.\dot{5}"),
            ("0.5", "0", "5", "0.55"),
        ),
        (
            r"\frac{7}{22}",
            (r"0.3\overline{18}", "0.3181818..."),
            (r"0.\overline{318}", "0.3", "0.318"),
        ),
    ],
    "per cent": [
        ("37.5%", ("37.5", r"37.5\%", "0.375", "3/8", r"\frac{75}{2}\%"), ("37", "3.75", "38.5")),
        ("12", (r"12\%",), ("0.12", r"120\%")),
        (r"\frac{1}{4}", (r"25\%", "0.25"), ("25", r"0.25\%")),
    ],
    "tiny and large": [
        ("0", ("0.0", "-0", "3-3"), ("1e-400", r"10^{-25}", "0.0000001", "e^{-900}")),
        ("5.2e-30", (r"5.2\times 10^{-30}",), ("0", "5.2e-31", "5.3e-30")),
        ("y", ("y", r"\frac{2y}{2}"), (r"y+10^{-22}", "y+1")),
        ("10^{80}", ("1e80",), ("10^{80}+1", "1e81")),
    ],
    "sets, pairs, bases": [
        ("(3,8)", (r"\left(3, 8\right)", "(3,8)"), ("(8,3)", "[3,8]", r"\{3,8\}", "3")),
        ("2,5,9", (r"9, 2 \text{ and } 5", r"\{2,5,9\}"), ("2,5", "2,5,9,10", "2,5,8")),
        ("213_5", ("213_{5}", "213"), ("213_7", "58")),
        (
            r"\begin{pmatrix} 1 \\ 4 \end{pmatrix}",
            (r"\begin{pmatrix} 2/2 \\ 4 \end{pmatrix}",),
            ("1",),
        ),
        ("1+3i", ("3i+1",), ("1-3i", "3+i", "4")),
        ("(0,4,9)", ("(0, 4, 9)",), ("[0,4,9]", r"\{0,4,9\}", "(4,0,9)")),
        (r"\{3,8\}", (r"\lbrace 8,3\rbrace", r"\{3,3,8\}", "8, 3"), ("3,8,8", "(3,8)", "3")),
        ("(0,\\infty)", ("x>0",), ("(0,\\infty]", "[0,\\infty)")),
        ("2,5,9", ("2,5 and 9", "2, 5, and 9"), ("2,5,9,9", "2 and 5", r"2,\ldots,9")),
    ],
    "said more than once": [
        ("64", ("64",), ("64,64", "n=64,n=64", r"64\pm 0", r"\{64,64\}")),
        ("4,4,7", ("7,4,4", r"\{4,7,4\}"), ("4,7,7", "4,7", "4,4,7,7", r"\{4,7\}")),
        ("(1,6),(2,5)", ("(2,5) and (1,6)",), ("(1,6),(2,5),(1,6)", "(6,1),(2,5)")),
        (r"\pm 6", ("6,-6", "±6", r"n=\pm 6"), ("6", "-6", "6,6")),
    ],
    "three digits between commas": [
        ("121,343,565", ("121, 343, 565", "565,343,121"), ("121343565", "121,343")),
        ("121343565", ("121,343,565", r"121\,343\,565"), ("121,343,566", "121,343")),
        ("2,345,678", ("2345678", r"2{,}345{,}678"), ("2,345,679", "2, 345, 678")),
    ],
    "rounded decimals": [
        ("10^{-2}", ("0.01", "1e-2"), ("0.010001", "0.0100001", "0.1")),
        (r"\frac{5}{7}", ("0.714286", "0.7142857"), ("0.7143", "0.714285", "0.7142867")),
        ("2^{-12}", ("0.000244140625", "2.44140625e-4"), ("0.000244", "0.000245")),
        ("0.3", ("0.30", "3/10"), ("0.3000001", "0.29999")),
    ],
    "functions of angles": [
        (r"\frac{\sqrt{3}}{3}", (r"\tan 30^\circ", "\\tan(30°)"), (r"\tan 30", r"\tan 60^\circ")),
        (r"\frac{3}{4}", (r"\cos^2 30^{\circ}", r"1-\sin^{2}30^\circ"), (r"\cos 30^\circ",)),
        ("70^\\circ", ("70", "70°", r"70\text{ degrees}"), (r"70\text{ radians}", "70\\pi")),
    ],
    "names": [
        ("g(x)=3x", ("y=3x", "3x"), ("y=3x+1", "x=3y", "f(x)=3x", "z=3x")),
        ("15", (r"P(A\cap B)=15", r"P(A\mid B)=15", r"|A\cup B|=15"), (r"P(A\cap B)=16",)),
        ("15", (r"\lim_{n\to\infty} a_n=15", r"m\angle A=15"), (r"\lim_{n\to 3} n=15",)),
        ("15", (r"\det A=15",), ("15=16", r"15\approx 16", "m^2=15", "15^T")),
        (r"\max\{p,q\}", (r"\max(q,p)", r"\max\{q,p\}"), (r"\min\{p,q\}", "p")),
        ("u+v=15", ("v+u=15",), ("15", "u+v=16", "u=15")),
    ],
    "residues": [
        (r"5\pmod{9}", ("5", r"n\equiv 5\pmod 9", r"14\pmod{9}"), ("14", r"5\pmod{8}", "9")),
        (r"m\equiv 5\pmod{9}", (r"m\equiv 14\pmod 9",), (r"k\equiv 5\pmod{9}",)),
        (r"23\bmod 9", ("5",), ("23", "9")),
        ("5", ("5",), (r"5\pmod{9}",)),
    ],
    "units": [
        (r"40\text{ m}", ("40m", "40", r"40\text{ metres}"), (r"40\text{ km}", "40k", "40m^2")),
        (r"40\text{ m}^2", (r"40\text{ m²}", r"40\text{ square metres}"), (r"40\text{ m}",)),
        (r"40\text{ min}", (r"40\text{ minutes}",), (r"40\text{ hours}", r"40\text{ s}")),
        ("40", ("40 km", r"40\text{ eggs}"), ("40k", "40x", "40\\")),
    ],
    "signs above the line": [
        ("10^{-5}", ("10⁻⁵", "10⁻5", "0.00001"), ("10⁵", "10-5", "10^{5}")),
        ("-4", ("⁻4", "{-}4", r"-\,4"), ("4", "4-", r"\text{minus}")),
    ],
}

# The same for GSM8K: whole texts.
MARKED: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = [
    (
        "24",
        (
            "#### 24",
            "2*12=24\n#### $24/week",
            "#### 48 / 2 = 24 dollars",
            "#### 24 - so much she pays",
            "#### **24**",
            "#### 24\n\n#### Why: 2*12 is 24",
            "#### Step 1: tea\n3+4=7\n#### Step 2: cake\n7+17=24\nSo \\boxed{24}.",
            "#### 2 dozen",
            "The total is \\boxed{24 \\text{ dollars}}.",
            "#### Answer: 24.00",
        ),
        (
            "#### 24, 25",
            "#### 24 or 25",
            "#### 24 million",
            "#### > 24",
            "#### 24 - 3",
            "#### 1/24",
            "#### -24",
            "#### Step 24: tea",
            "It is 24.",
            "\\boxed{24 or 25}",
            "#### 24:30",
        ),
    ),
    (
        "24",
        (
            "#### She makes $24 per day.",
            "#### Ben pays $24 for the tea.",
            "#### Answer\n24",
            "#### The answer is 24 dollars!",
            "#### Final answer:\n\n$24.00\n",
        ),
        (
            "#### 24!",
            "#### 24th",
            "#### 24...",
            "#### 24%%",
            "#### 24.\nThen she pays.",
            "#### She makes 24 and pays 3",
            "#### She does not make 24",
            "#### Answer\n24 or 25",
            "#### Answer\nStep 24",
            "#### 24-",
        ),
    ),
    ("2", (), ("#### Step 1: a\n#### Step 2: b\n\\boxed{24}", "#### 2 1/2", "#### 2 million")),
    ("1500000", ("#### 1.5 million", "#### 1,500,000", "#### $1.5M"), ("#### 1.5", "#### 1")),
    ("-3", ("#### -3", "#### −3 degrees", "#### 4 - 7 = -3"), ("#### 3", "#### 4 - 7 = 3")),
    ("0.5", ("#### 1/2", "#### ½ cup", "#### .5"), ("#### 1", "#### 2", "#### 1 1/2")),
]
