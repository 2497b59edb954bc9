package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/assetplatform/assetplatform/internal/store/sqlc"
)

// Searches find substrings in any script, with plain PostgreSQL. pg_trgm is no help: what it takes for a letter depends on the
// database's locale, and with C no letter but those of ASCII is one. So each asset has the hashes of all pieces of one to three
// characters ("grams") of its name and tags, under an inverted index; a search looks up those of its words, and what the index finds is
// compared with the text itself. The owner and the field are hashed with the piece: nobody's library slows another's down, and what is in
// a name can be told from what is in a tag.

// fieldSeparator is between the name and each tag in a search text; no name and no tag holds it.
const fieldSeparator = "\x1f"

// Where a piece was found.
const (
	inName byte = 'n'
	inTags byte = 't'
)

// maxGram is how many characters a piece has at most.
const maxGram = 3

// normalize makes texts equal that people take for the same: compatible forms (NFKC), the case, hiragana and katakana.
func normalize(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'ァ' && r <= 'ヶ' {
			return r - ('ァ' - 'ぁ')
		}
		return r
	}, norm.NFKC.String(cases.Fold().String(norm.NFKC.String(text))))
}

// searchable is what searches look into for an asset.
type searchable struct {
	Text  string  `json:"search_text"`
	Grams []int32 `json:"grams"`
}

// Bounds of what is searchable of an asset. An index entry for each piece is what a change costs: without them one bulk edit would make
// millions.
const (
	maxLetters = 256  // of a name, normalized, which may make eighteen letters of one
	maxGrams   = 1000 // of the name and of as many tags as fit; the others are found by filters alone
)

func searchableOf(owner uuid.UUID, name string, tags []string) searchable {
	return newIndexer(owner).searchable(name, tags)
}

// indexer tells what is searchable of assets of one owner. It looks at each tag once, however many of them have it.
type indexer struct {
	owner uuid.UUID
	tags  map[string]searchable
}

func newIndexer(owner uuid.UUID) indexer { return indexer{owner, map[string]searchable{}} }

func (x indexer) searchable(name string, tags []string) searchable {
	name = firstLetters(normalize(name), maxLetters)
	s := searchable{Text: name, Grams: distinct(grams(x.owner, inName, name, 1))}
	for _, tag := range tags {
		t, ok := x.tags[tag]
		if !ok {
			t.Text = normalize(tag)
			t.Grams = distinct(grams(x.owner, inTags, t.Text, 1))
			x.tags[tag] = t
		}
		more := append(slices.Clip(s.Grams), t.Grams...)
		if len(more) > maxGrams { // counting equal ones once costs time, which most assets need not take
			more = distinct(more)
		}
		if len(more) > maxGrams {
			continue
		}
		s.Text += fieldSeparator + t.Text
		s.Grams = more
	}
	s.Grams = distinct(s.Grams)
	return s
}

func distinct(hashes []int32) []int32 {
	slices.Sort(hashes)
	return slices.Compact(hashes)
}

func firstLetters(text string, n int) string {
	for at := range text {
		if n == 0 {
			return text[:at]
		}
		n--
	}
	return text
}

// grams are the hashes of all pieces of a normalized text that have from least to maxGram characters.
func grams(owner uuid.UUID, field byte, text string, least int) (all []int32) {
	start := fnv1a(fnv1a(fnvOffset, string(owner[:])), string(field))
	ends := []int{} // of the letters
	for at := range text {
		ends = append(ends, at)
	}
	ends = append(ends, len(text))
	for size := least; size <= maxGram; size++ {
		for at := 0; at+size < len(ends); at++ {
			all = append(all, int32(fnv1a(start, text[ends[at]:ends[at+size]]))) //nolint:gosec // a hash has no sign to lose
		}
	}
	return all
}

// fnvOffset is what fnv1a begins with.
const fnvOffset uint32 = 2166136261

// fnv1a goes on with a hash as hash/fnv makes it, which cannot begin in the middle.
func fnv1a(hash uint32, text string) uint32 {
	for i := range len(text) {
		hash = (hash ^ uint32(text[i])) * 16777619
	}
	return hash
}

// wordGrams are the hashes by which the index knows a word of a search: the longest pieces alone, for they imply the others.
func wordGrams(owner uuid.UUID, field byte, word string) []int32 {
	return grams(owner, field, word, min(maxGram, len([]rune(word))))
}

// search is a search's words, normalized, in the assets of some owners.
type search struct {
	phrase string // all of it
	words  []string
	owners []uuid.UUID // none: of so many that the index is not asked
}

// MaxWords bounds the words of a search.
const MaxWords = 8

// SearchWords is how many words a search has.
func SearchWords(text string) int { return len(strings.Fields(normalize(text))) }

func parseSearch(text string, owners []uuid.UUID) search {
	words := strings.Fields(normalize(text))
	return search{strings.Join(words, " "), words, owners}
}

// Not like: of a pattern the planner guesses that each byte makes it rarer, and takes a word of two kanji for one that is nowhere. How
// often a piece is there it knows.
const (
	holds     = "strpos(search_text, %s) > 0"
	firstText = `split_part(search_text, E'\x1f', 1)`
	nameHolds = "strpos(" + firstText + ", %s) > 0"
)

// indexed adds that the index knows all of these words for one of the owners, in one of the fields.
func (s search) indexed(q *conditions, words []string, fields ...byte) {
	if len(s.owners) == 0 {
		return
	}
	q.nest("(%s)", " or ", func(any *conditions) {
		for _, owner := range s.owners {
			for _, field := range fields {
				var all []int32
				for _, word := range words {
					all = append(all, wordGrams(owner, field, word)...)
				}
				any.add("grams @> %s", all)
			}
		}
	})
}

// mostLookups is how many looks into the index a condition takes at most that more than one word shares.
const mostLookups = 16

// somewhere adds that all words are in the name or in tags. The index is asked for them together, in each way to put them into the two
// fields, as long as those are few: it is fast to find what has two things that many have, and slow to tell all who have one.
func (s search) somewhere(q *conditions) {
	for _, word := range s.words {
		q.add(holds, word)
	}
	if len(s.owners) == 0 {
		return
	}
	words := slices.SortedStableFunc(slices.Values(s.words), func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	together := 0
	for together < len(words) && len(s.owners)<<(together+1) <= mostLookups {
		together++
	}
	if together > 0 {
		q.nest("(%s)", " or ", func(any *conditions) {
			for _, owner := range s.owners {
				for fields := range 1 << together {
					var all []int32
					for i, word := range words[:together] {
						all = append(all, wordGrams(owner, []byte{inName, inTags}[fields>>i&1], word)...)
					}
					any.add("grams @> %s", all)
				}
			}
		})
	}
	for _, word := range words[together:] {
		s.indexed(q, []string{word}, inName, inTags)
	}
}

// Ranks of what a search finds: what a name begins with it, names that hold all of its words, and all else.
const (
	rankPrefix = iota
	rankName
	rankOther
	ranks
)

// ranked adds that an asset has this rank.
func (s search) ranked(q *conditions, rank int) {
	if rank == rankPrefix {
		if len(s.owners) > 0 {
			q.add("user_id = any(%s)", s.owners) // the index of beginnings has them by owner
		}
		q.add("left(search_text, 64) like %s", likeEscaper.Replace(firstLetters(s.phrase, prefixLength))+"%")
		q.add("starts_with(search_text, %s)", s.phrase)
		return
	}
	q.add("not starts_with(search_text, %s)", s.phrase)
	if rank == rankName {
		for _, word := range s.words {
			q.add(nameHolds, word)
		}
		s.indexed(q, s.words, inName)
		return
	}
	s.somewhere(q)
	q.nest("(%s)", " or ", func(missing *conditions) {
		for _, word := range s.words {
			missing.nest("(%s)", " and ", func(one *conditions) {
				one.add("not "+nameHolds, word)
				s.indexed(one, []string{word}, inTags)
			})
		}
	})
}

// prefixLength is how much of a search text the index of beginnings has, characters.
const prefixLength = 64

// rankedAssets is a page of what a search finds in a library, the best first.
func (s *Store) rankedAssets(ctx context.Context, l library, words search, p Page) (assets []Asset, next *Position, err error) {
	rank, behind, skip := 0, (*Position)(nil), p.Offset
	if p.After != nil {
		text, at, ok := strings.Cut(p.After.Value, "|")
		if rank, err = strconv.Atoi(text); !ok || err != nil || rank < 0 || rank >= ranks {
			return nil, nil, ErrBadPosition
		}
		behind = &Position{Value: at, ID: p.After.ID}
	}
	var found []int // the rank of each
	for ; rank < ranks && len(assets) <= p.Limit; rank, behind = rank+1, nil {
		ranked := l
		ranked.q = l.q.clone()
		words.ranked(&ranked.q, rank)
		more, _, err := s.readAssets(ctx, ranked, Page{Sort: SortCreatedAt, Limit: p.Limit + 1 - len(assets), Offset: skip, After: behind})
		if err == nil && len(more) == 0 && skip > 0 {
			// All of this rank were skipped; there are no more than that, so that counting them is no more work than it was.
			var all int
			err = s.pool.QueryRow(ctx, "select count(*) from "+l.from+ranked.q.where(), ranked.q.planned()...).Scan(&all)
			skip = max(0, skip-all)
		} else {
			skip = 0
		}
		if err != nil {
			return nil, nil, err
		}
		assets = append(assets, more...)
		for range more {
			found = append(found, rank)
		}
	}
	if len(assets) > p.Limit {
		assets = assets[:p.Limit]
		last := assets[p.Limit-1]
		next = &Position{Value: fmt.Sprintf("%d|%s", found[p.Limit-1], formatPosition(last.CreatedAt)), ID: last.ID}
	}
	return assets, next, nil
}

// IndexAssets makes up to limit assets searchable that an image wrote which did not know how, and reports how many it found.
func (s *Store) IndexAssets(ctx context.Context, limit int32) (found int, err error) {
	err = s.inTx(ctx, func(q *sqlc.Queries) error {
		rows, err := q.UnindexedAssets(ctx, limit)
		if err != nil || len(rows) == 0 {
			return err
		}
		type indexed struct {
			ID uuid.UUID `json:"id"`
			searchable
		}
		all := make([]indexed, len(rows))
		for i, row := range rows {
			all[i] = indexed{row.ID, searchableOf(row.UserID, row.OriginalName, row.Tags)}
		}
		found = len(rows)
		text, err := json.Marshal(all)
		if err != nil {
			return err
		}
		return q.IndexAssets(ctx, text)
	})
	return found, fail("index assets", err)
}
