package client

import (
	"fmt"
	"strconv"
	"strings"
)

// parseProperties reads the format of java.util.Properties, in UTF-8.
func parseProperties(text string) (map[string]string, error) {
	properties := map[string]string{}
	for line := range logicalLines(text) {
		key, value := cutProperty(line)
		var err error
		for _, part := range []*string{&key, &value} {
			if *part, err = unescape(*part); err != nil {
				return nil, err
			}
		}
		if _, twice := properties[key]; twice {
			return nil, fmt.Errorf("%s is there twice", key)
		}
		properties[key] = value
	}
	return properties, nil
}

// logicalLines yields the lines without comments. A line that ends in a backslash continues on the
// next.
func logicalLines(text string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		whole := ""
		goesOn := false
		for line := range strings.Lines(text) {
			line = strings.TrimLeft(strings.TrimRight(line, "\r\n"), " \t\f")
			if !goesOn && (line == "" || line[0] == '#' || line[0] == '!') {
				continue
			}
			backslashes := len(line) - len(strings.TrimRight(line, `\`))
			if goesOn = backslashes%2 == 1; goesOn {
				whole += line[:len(line)-1]
				continue
			}
			if !yield(whole + line) {
				return
			}
			whole = ""
		}
		if whole != "" {
			yield(whole)
		}
	}
}

// cutProperty splits at the first '=', ':' or space without a backslash before it.
func cutProperty(line string) (key, value string) {
	end := len(line)
	for i := 0; i < len(line); i++ {
		if line[i] == '\\' {
			i++
		} else if strings.IndexByte("=: \t\f", line[i]) >= 0 {
			end = i
			break
		}
	}
	value = strings.TrimLeft(line[end:], " \t\f")
	if value != "" && (value[0] == '=' || value[0] == ':') {
		value = strings.TrimLeft(value[1:], " \t\f")
	}
	return line[:end], value
}

func unescape(text string) (string, error) {
	if !strings.Contains(text, `\`) {
		return text, nil
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' || i+1 == len(text) {
			b.WriteByte(text[i])
			continue
		}
		i++
		switch text[i] {
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case 'r':
			b.WriteByte('\r')
		case 'f':
			b.WriteByte('\f')
		case 'u':
			number, err := strconv.ParseUint(text[min(i+1, len(text)):min(i+5, len(text))], 16, 16)
			if err != nil || i+5 > len(text) {
				return "", fmt.Errorf(`\u needs four hexadecimal digits after it`)
			}
			b.WriteRune(rune(number))
			i += 4
		default:
			b.WriteByte(text[i])
		}
	}
	return b.String(), nil
}
