// Package spelling finds the word that was meant.
package spelling

import "strings"

// Nearest returns the known word that is the most like one that is not known, or ""
// when none is like it. Neither case matters, nor what stands between the parts of a
// word.
func Nearest(word string, known []string) string {
	found, best := "", min(len(word), 3) // two letters that changed places are two changes
	word = plain(word)
	for _, k := range known {
		if d := distance(word, plain(k)); d < best {
			found, best = k, d
		}
	}
	return found
}

func plain(word string) string {
	return strings.NewReplacer("-", "_", " ", "_").Replace(strings.ToLower(word))
}

// distance returns how many bytes are to be inserted, removed or changed to make
// b of a; as many as are in the longer one if they differ much in length.
func distance(a, b string) int {
	if len(a) > 2*len(b)+2 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}
