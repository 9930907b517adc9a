"""The text that tiny tokenizers are trained on, and pairs to score. English mostly, with enough scripts to meet every branch of a tokenizer."""

from __future__ import annotations

SENTENCES: tuple[str, ...] = (
    "The giant panda is a bear species endemic to China, and it eats bamboo all day long.",
    "Berlin had a population of 3,520,031 registered inhabitants in an area of 891.82 square kilometers.",
    "What is the capital of France? Paris is the capital and the most populous city of France.",
    "How do I reset my password? Open the settings page, choose security and then press the reset button.",
    "A cross-encoder reads the query and the document together and gives one score for the pair.",
    "Shared memory is the fastest way for two processes of one machine to exchange data.",
    "Green tea is rich in antioxidants, which may reduce the risk of heart disease; it's widely studied.",
    "The quick brown fox jumps over the lazy dog while the cat isn't watching at all.",
    "In 1969, Apollo 11 landed on the Moon; Neil Armstrong was the first man to walk there.",
    "Python's global interpreter lock does not stop native libraries from using many threads.",
    "Der Fluss fließt durch die Stadt, und überall blühen die Bäume im Frühling.",
    "Le café est situé à côté de l'église, près du vieux marché aux fleurs.",
    "El gato duerme sobre la mesa mientras los niños juegan en el jardín.",
    "Москва является столицей России и крупнейшим городом страны.",
    "東京は日本の首都であり、世界最大の都市の一つです。",
    "北京是中国的首都,也是全国的政治中心和文化中心。",
    "القاهرة هي عاصمة مصر وأكبر مدنها من حيث عدد السكان.",
    "Ελλάδα είναι μια χώρα στη νοτιοανατολική Ευρώπη.",
    "def rank(query, documents): return sorted(documents, key=lambda d: -score(query, d))",
    "Prices rose by 4.7% in March (up from $12.50 to $13.09), analysts said on Tuesday.",
)

QUERY = "what is the capital of France?"

DOCUMENTS: tuple[str, ...] = (
    "Paris is the capital and the most populous city of France.",
    "The giant panda eats bamboo.",
    "",
    "Berlin had a population of 3,520,031 registered inhabitants in an area of 891.82 square kilometers, and it is the capital of Germany.",
    "Le café est situé à côté de l'église.",
    "東京は日本の首都であり、世界最大の都市の一つです。",
    "fox",
)
