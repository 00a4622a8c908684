import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Answers what Java's regular expressions say: lines of pattern, text and replacement, each in hexadecimal. */
public class Answers {
  public static void main(String[] args) throws Exception {
    var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    var out = new StringBuilder();
    for (String line; (line = in.readLine()) != null; ) {
      String[] parts = line.split("\t", -1);
      out.append(answer(text(parts[0]), text(parts[1]), text(parts[2]))).append('\n');
    }
    System.out.print(out);
  }

  static String answer(String regex, String text, String by) {
    Pattern pattern;
    try {
      pattern = Pattern.compile(regex);
    } catch (Exception e) {
      return "refused";
    }
    var answer = new StringBuilder();
    Matcher matcher = pattern.matcher(text);
    answer.append(matcher.matches()).append(' ');
    matcher.reset();
    if (matcher.find()) {
      answer.append(matcher.start());
      for (int group = 0; group <= matcher.groupCount(); group++) {
        String found = matcher.group(group);
        answer.append(' ').append(found == null ? "-" : "'" + hex(found));
      }
    } else {
      answer.append("none");
    }
    answer.append(" | ").append(hex(matcher.reset().replaceAll(by))).append(" |");
    for (String piece : pattern.split(text)) {
      answer.append(" '").append(hex(piece));
    }
    return answer.toString();
  }

  static String text(String hex) {
    byte[] bytes = new byte[hex.length() / 2];
    for (int i = 0; i < bytes.length; i++) {
      bytes[i] = (byte) Integer.parseInt(hex.substring(2 * i, 2 * i + 2), 16);
    }
    return new String(bytes, StandardCharsets.UTF_8);
  }

  static String hex(String text) {
    var hex = new StringBuilder();
    for (byte b : text.getBytes(StandardCharsets.UTF_8)) {
      hex.append(String.format("%02x", b));
    }
    return hex.toString();
  }
}
