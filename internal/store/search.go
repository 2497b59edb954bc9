package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
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

func searchableOf(owner uuid.UUID, name string, tags []string) searchable {
	name = normalize(name)
	s := searchable{Text: name, Grams: grams(nil, owner, inName, name, 1)}
	for _, tag := range tags {
		tag = normalize(tag)
		s.Text += fieldSeparator + tag
		s.Grams = grams(s.Grams, owner, inTags, tag, 1)
	}
	slices.Sort(s.Grams)
	s.Grams = slices.Compact(s.Grams)
	return s
}

// grams appends the hashes of all pieces of a normalized text that have from least to maxGram characters.
func grams(to []int32, owner uuid.UUID, field byte, text string, least int) []int32 {
	runes := []rune(text)
	for size := least; size <= maxGram; size++ {
		for at := 0; at+size <= len(runes); at++ {
			h := fnv.New32a()
			h.Write(owner[:])
			h.Write([]byte{field})
			h.Write([]byte(string(runes[at : at+size])))
			to = append(to, int32(h.Sum32())) //nolint:gosec // a hash has no sign to lose
		}
	}
	return to
}

// wordGrams are the hashes by which the index knows a word of a search: the longest pieces alone, for they imply the others.
func wordGrams(owner uuid.UUID, field byte, word string) []int32 {
	return grams(nil, owner, field, word, min(maxGram, len([]rune(word))))
}

// search is a search's words, normalized.
type search struct {
	phrase string // all of it
	words  []string
}

// maxWords bounds the words of a search that count.
const maxWords = 8

func parseSearch(text string) search {
	words := strings.Fields(normalize(text))
	return search{strings.Join(words, " "), words[:min(len(words), maxWords)]}
}

// HasWords tells whether there is something to search for in a text.
func HasWords(text string) bool { return len(parseSearch(text).words) > 0 }

// Not like: of a pattern the planner guesses that each byte makes it rarer, and takes a word of two kanji for one that is nowhere. How
// often a piece is there it knows.
const (
	holds     = "strpos(search_text, %s) > 0"
	nameHolds = `strpos(split_part(search_text, E'\x1f', 1), %s) > 0`
)

// somewhere adds that all words are in the name or in tags. Without an owner the index is not asked, for those in a project have many.
func (s search) somewhere(q *conditions, owner uuid.UUID) {
	for _, word := range s.words {
		q.add(holds, word)
		if owner != uuid.Nil {
			q.add("(grams @> %s or grams @> %s)", wordGrams(owner, inName, word), wordGrams(owner, inTags, word))
		}
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
func (s search) ranked(q *conditions, owner uuid.UUID, rank int) {
	if rank == rankPrefix {
		letters := []rune(s.phrase)
		q.add("left(search_text, 64) like %s", likeEscaper.Replace(string(letters[:min(len(letters), prefixLength)]))+"%")
		q.add("starts_with(search_text, %s)", s.phrase)
		return
	}
	q.add("not starts_with(search_text, %s)", s.phrase)
	if rank == rankName {
		var all []int32
		for _, word := range s.words {
			q.add(nameHolds, word)
			all = append(all, wordGrams(owner, inName, word)...)
		}
		if owner != uuid.Nil {
			q.add("grams @> %s", all)
		}
		return
	}
	s.somewhere(q, owner)
	q.nest("(%s)", " or ", func(missing *conditions) {
		for _, word := range s.words {
			if owner == uuid.Nil {
				missing.add("not "+nameHolds, word)
			} else {
				missing.add("(not "+nameHolds+" and grams @> %s)", word, wordGrams(owner, inTags, word))
			}
		}
	})
}

// prefixLength is how much of a search text the index of beginnings has, characters.
const prefixLength = 64

// rankedAssets is a page of what a search finds among the assets that meet the conditions, the best first.
func (s *Store) rankedAssets(ctx context.Context, q conditions, words search, owner uuid.UUID, p Page, itemOf func(assetRow) Asset) (assets []Asset, next *Position, err error) {
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
		ranked := q.clone()
		words.ranked(&ranked, owner, rank)
		if skip > 0 {
			total, err := s.count(ctx, "assets", ranked)
			if err != nil {
				return nil, nil, err
			}
			if skip >= int(total.Rows) {
				skip -= int(total.Rows)
				continue
			}
		}
		page := Page{Sort: SortCreatedAt, Limit: p.Limit + 1 - len(assets), Offset: skip, After: behind}
		more, _, err := readPage(ctx, s, selectAssets, ranked, page, assetSorts, itemOf, assetID)
		if err != nil {
			return nil, nil, err
		}
		skip = 0
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

const (
	likeCandidates = 2000 // assets that are compared letter by letter with a search that finds nothing
	likeLength     = 4    // characters that such a search has at least
)

// likeAssets is what is like a search that finds nothing: names that hold it with a letter or two wrong, missing or too many. Of as
// many pieces as there may be such mistakes, and one more, one is without any: the index finds those that hold one.
func (s *Store) likeAssets(ctx context.Context, q conditions, words search, owner uuid.UUID, limit int, itemOf func(assetRow) Asset) ([]Asset, error) {
	letters := []rune(words.phrase)
	if len(letters) < likeLength {
		return nil, nil
	}
	mistakes := 1
	if len(letters) >= 2*likeLength {
		mistakes = 2
	}
	var pieces conditions
	pieces.args = q.args
	for i := range mistakes + 1 {
		piece := string(letters[i*len(letters)/(mistakes+1) : (i+1)*len(letters)/(mistakes+1)])
		if owner == uuid.Nil {
			pieces.add(holds, piece)
		} else {
			pieces.add("grams @> %s", wordGrams(owner, inName, piece))
		}
	}
	q.args = pieces.args
	q.parts = append(q.parts, "("+strings.Join(pieces.parts, " or ")+")")
	candidates, _, err := readPage(ctx, s, selectAssets, q, Page{Sort: SortCreatedAt, Limit: likeCandidates}, assetSorts, itemOf, assetID)
	distances := map[uuid.UUID]int{}
	for _, a := range candidates {
		distances[a.ID] = distance(letters, []rune(normalize(a.OriginalName)))
	}
	candidates = slices.DeleteFunc(candidates, func(a Asset) bool { return distances[a.ID] > mistakes })
	slices.SortStableFunc(candidates, func(a, b Asset) int { return cmp.Compare(distances[a.ID], distances[b.ID]) })
	return candidates[:min(len(candidates), limit)], err
}

// distance is how many letters have to be put in, left out or changed to find pattern in text (Sellers 1980).
func distance(pattern, text []rune) int {
	column := make([]int, len(pattern)+1)
	for i := range column {
		column[i] = i
	}
	best := len(pattern)
	for _, letter := range text {
		before := 0 // the pattern may begin anywhere
		for i, wanted := range pattern {
			changed := before
			if wanted != letter {
				changed++
			}
			before = column[i+1]
			column[i+1] = min(changed, column[i+1]+1, column[i]+1)
		}
		best = min(best, column[len(pattern)])
	}
	return best
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
