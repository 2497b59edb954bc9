package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
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

const (
	mostCandidates = 200 // assets that are compared letter by letter, for each way in which one can be like a search
	likeLength     = 4   // characters that a search has at least which is compared so
	likeTime       = 100 // milliseconds after which nothing was found
)

// mostMistakes is how many mistakes a name may have that is like a word.
func mostMistakes(word []rune) int {
	if len(word) < 2*likeLength {
		return 1
	}
	return 2
}

// likePieces are the ways in which a name can be like a word that is nowhere: the pieces of the word that such a name holds as they are.
// With one mistake, one of two is without any; with two mistakes, two of four.
func likePieces(word []rune) (ways [][]string) {
	cut := func(n int) (pieces []string) {
		for i := range n {
			pieces = append(pieces, string(word[i*len(word)/n:(i+1)*len(word)/n]))
		}
		return pieces
	}
	if mostMistakes(word) == 1 {
		for _, piece := range cut(2) {
			ways = append(ways, []string{piece})
		}
		return ways
	}
	pieces := cut(4)
	for i, a := range pieces {
		for _, b := range pieces[i+1:] {
			ways = append(ways, []string{a, b})
		}
	}
	return ways
}

// misspelt are the words of a search that nothing in the library holds, the longest first, and the others.
func (s *Store) misspelt(ctx context.Context, l library, words search) (wrong, right []string, err error) {
	if len(words.words) == 1 { // and it finds nothing
		return words.words, nil, nil
	}
	known, args := []string{}, l.q.args
	for _, word := range words.words {
		q := conditions{parts: slices.Clone(l.q.parts), args: args}
		search{words: []string{word}, owners: words.owners}.somewhere(&q)
		args = q.args
		known = append(known, "exists (select from "+l.from+q.where()+")")
	}
	found, err := readBounded[struct{ Known []bool }](ctx, s, "select array["+strings.Join(known, ", ")+"]", conditions{args: args})
	if err != nil || len(found) == 0 {
		return nil, nil, err
	}
	for i, word := range words.words {
		if found[0].Known[i] {
			right = append(right, word)
		} else {
			wrong = append(wrong, word)
		}
	}
	slices.SortStableFunc(wrong, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return wrong, right, nil
}

// likeAssets is what is like a search that finds nothing: assets that hold those of its words that something in the library holds, and
// whose names hold each other word with a letter or two wrong, missing or too many.
func (s *Store) likeAssets(ctx context.Context, l library, words search, limit int) ([]Asset, error) {
	if len(words.words) == 0 || len(words.owners) == 0 {
		return nil, nil
	}
	texts, right, err := s.misspelt(ctx, l, words)
	if err != nil || len(texts) == 0 {
		return nil, err
	}
	wrong := make([][]rune, len(texts))
	for i, text := range texts {
		wrong[i] = []rune(text)
		if len(wrong[i]) < likeLength || len(wrong[i]) > maxLetters {
			return nil, nil
		}
	}
	search{words: right, owners: words.owners}.somewhere(&l.q)
	candidates, err := s.likeCandidates(ctx, l, words, wrong[0])
	if err != nil || len(candidates) == 0 {
		return nil, err
	}
	for i := range candidates {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		candidates[i].compare(wrong)
	}
	candidates = slices.DeleteFunc(candidates, func(c candidate) bool { return !c.like })
	slices.SortFunc(candidates, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), b.CreatedAt.Compare(a.CreatedAt), bytes.Compare(b.ID[:], a.ID[:]))
	})
	candidates = candidates[:min(len(candidates), limit)]
	if len(candidates) == 0 {
		return nil, nil
	}
	ids, places := make([]uuid.UUID, len(candidates)), map[uuid.UUID]int{}
	for i, c := range candidates {
		ids[i], places[c.ID] = c.ID, i
	}
	assets, _, err := s.readAssets(ctx, l.only(ids), Page{Sort: SortCreatedAt, Limit: limit})
	slices.SortFunc(assets, func(a, b Asset) int { return cmp.Compare(places[a.ID], places[b.ID]) })
	return assets, err
}

// candidate is an asset whose name may be like a search.
type candidate struct {
	ID        uuid.UUID
	Name      string
	CreatedAt time.Time

	like     bool
	distance int // letters, of all words
}

// compare tells whether the name holds each word with no more mistakes than a word of its length may have.
func (c *candidate) compare(words [][]rune) {
	c.like = true
	for _, word := range words {
		d := distance(word, []rune(c.Name), mostMistakes(word))
		c.like = c.like && d <= mostMistakes(word)
		c.distance += d
	}
}

// likeCandidates are assets whose names hold pieces of a word.
func (s *Store) likeCandidates(ctx context.Context, l library, words search, word []rune) ([]candidate, error) {
	var selections []string
	args := l.q.args
	for _, pieces := range likePieces(word) {
		held := conditions{args: args}
		words.indexed(&held, pieces, inName)
		args = held.args
		// What the index finds, and then what of it is in the library: the planner takes two pieces that are often together, or never, for
		// independent, and would rather go through the library. In no order: to sort takes longer than to find. And a limit for each, so
		// that what is rare is not lost among what is not.
		selections = append(selections, fmt.Sprintf("(select id, %s as name, created_at from (select * from assets%s offset 0) %s%s limit %d)",
			firstText, held.where(), l.from, l.q.where(), mostCandidates))
	}
	candidates, err := readBounded[candidate](ctx, s, strings.Join(selections, " union all "), conditions{args: args})
	known := map[uuid.UUID]bool{}
	candidates = slices.DeleteFunc(candidates, func(c candidate) bool {
		seen := known[c.ID]
		known[c.ID] = true
		return seen
	})
	return candidates, err
}

// readBounded runs a selection by the indexes alone, and for likeTime at most: then it finds nothing.
func readBounded[Row any](ctx context.Context, s *Store, selection string, q conditions) (found []Row, err error) {
	err = pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, fmt.Sprintf("set local enable_seqscan = off; set local statement_timeout = %d", likeTime)); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, selection, q.planned()...)
		if err == nil {
			found, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Row])
		}
		return err
	})
	var server *pgconn.PgError
	if errors.As(err, &server) && server.Code == stateQueryCanceled {
		return nil, nil
	}
	return found, err
}

// distance is how many letters have to be put in, left out or changed to find pattern in text (Sellers 1980), or more than most. Only as
// far down as it can be that few is each column filled in (Ukkonen 1985).
func distance(pattern, text []rune, most int) int {
	column := make([]int, len(pattern)+1)
	for i := range column {
		column[i] = i
	}
	best := len(pattern)
	last := min(most, len(pattern)) // the lowest that is no more than most
	for _, letter := range text {
		before := 0 // the pattern may begin anywhere
		end := min(last+1, len(pattern))
		for i := 1; i <= end; i++ {
			changed := before
			if pattern[i-1] != letter {
				changed++
			}
			before = column[i]
			column[i] = min(changed, column[i]+1, column[i-1]+1)
		}
		for last = end; column[last] > most; last-- {
		}
		if last == len(pattern) {
			best = min(best, column[last])
		}
	}
	return min(best, most+1)
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
