import java.io.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;
import org.apache.lucene.analysis.Analyzer;
import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.en.EnglishAnalyzer;
import org.apache.lucene.analysis.tokenattributes.CharTermAttribute;
import org.apache.lucene.document.*;
import org.apache.lucene.index.*;
import org.apache.lucene.search.*;
import org.apache.lucene.store.*;

/**
 * Lucene on the benchmark's documents and queries: LuceneBench FOLDER THREADS REPEATS.
 *
 * FOLDER holds docs.bin (url, title, text: each UTF-8 after its length), queries.txt and wanted.txt (see
 * search_peers.py). Title and body are indexed with positions by EnglishAnalyzer (standard tokens, lower case, stop
 * words, Porter's stems), the url is stored; indexing is timed from the file to the closed index on disk, after one
 * run that warms the JVM. Queries are the terms of the text as SHOULD clauses; analysis is part of their time.
 */
public class LuceneBench {
    static final Analyzer ANALYZER = new EnglishAnalyzer();
    static final int WARM_PASSES = 4, PASSES = 5;

    static byte[] next(DataInputStream in) throws IOException {
        byte[] data = new byte[in.readInt()];
        in.readFully(data);
        return data;
    }

    static double index(Path docs, Path out, int threads) throws Exception {
        long begun = System.nanoTime();
        IndexWriterConfig config = new IndexWriterConfig(ANALYZER).setRAMBufferSizeMB(256);
        config.setOpenMode(IndexWriterConfig.OpenMode.CREATE);
        ExecutorService pool = Executors.newFixedThreadPool(threads);
        try (Directory directory = FSDirectory.open(out);
             IndexWriter writer = new IndexWriter(directory, config);
             DataInputStream in = new DataInputStream(new BufferedInputStream(Files.newInputStream(docs), 1 << 20))) {
            List<Future<Void>> tasks = new ArrayList<>();
            for (int i = 0; i < threads; i++) {
                tasks.add(pool.submit(() -> { add(in, writer); return null; }));
            }
            for (Future<Void> task : tasks) {
                task.get();
            }
        } finally {
            pool.shutdown();
        }
        return (System.nanoTime() - begun) / 1e9;
    }

    static void add(DataInputStream in, IndexWriter writer) throws IOException {
        while (true) {
            byte[] url, title, text;
            synchronized (in) {
                try {
                    url = next(in);
                } catch (EOFException end) {
                    return;
                }
                title = next(in);
                text = next(in);
            }
            Document document = new Document();
            document.add(new StringField("url", new String(url, StandardCharsets.UTF_8), Field.Store.YES));
            document.add(new TextField("title", new String(title, StandardCharsets.UTF_8), Field.Store.NO));
            document.add(new TextField("body", new String(text, StandardCharsets.UTF_8), Field.Store.NO));
            writer.addDocument(document);
        }
    }

    static Query query(String text, String... fields) throws IOException {
        BooleanQuery.Builder builder = new BooleanQuery.Builder();
        try (TokenStream tokens = ANALYZER.tokenStream("body", text)) {
            CharTermAttribute term = tokens.addAttribute(CharTermAttribute.class);
            tokens.reset();
            while (tokens.incrementToken()) {
                for (String field : fields) {
                    builder.add(new TermQuery(new Term(field, term.toString())), BooleanClause.Occur.SHOULD);
                }
            }
            tokens.end();
        }
        return builder.build();
    }

    static double queriesPerSecond(IndexSearcher searcher, List<String> queries, int threads, String... fields)
            throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(threads);
        List<Double> rates = new ArrayList<>();
        for (int pass = 0; pass < WARM_PASSES + PASSES; pass++) {
            long begun = System.nanoTime();
            List<Future<Void>> tasks = new ArrayList<>();
            for (int i = 0; i < threads; i++) {
                int first = i;
                tasks.add(pool.submit(() -> {
                    for (int at = first; at < queries.size(); at += threads) {
                        searcher.search(query(queries.get(at), fields), 10);
                    }
                    return null;
                }));
            }
            for (Future<Void> task : tasks) {
                task.get();
            }
            if (pass >= WARM_PASSES) {
                rates.add(queries.size() / ((System.nanoTime() - begun) / 1e9));
            }
        }
        pool.shutdown();
        return median(rates);
    }

    static double median(List<Double> values) {
        List<Double> sorted = new ArrayList<>(values);
        Collections.sort(sorted);
        return sorted.get(sorted.size() / 2);
    }

    static double percentile(double[] sorted, double share) {
        return sorted[(int) Math.min(sorted.length - 1, Math.round(share * (sorted.length - 1)))];
    }

    public static void main(String[] args) throws Exception {
        Locale.setDefault(Locale.ROOT);
        Path folder = Path.of(args[0]);
        int threads = Integer.parseInt(args[1]), repeats = Integer.parseInt(args[2]);
        Path out = folder.resolve("lucene");
        List<String> queries = Files.readAllLines(folder.resolve("queries.txt"));
        List<String> wanted = Files.readAllLines(folder.resolve("wanted.txt"));
        StringJoiner seconds = new StringJoiner(", ");
        for (int i = 0; i <= repeats; i++) {
            double taken = index(folder.resolve("docs.bin"), out, threads);
            if (i > 0) {
                seconds.add(String.format("%.3f", taken));
            }
        }
        try (Directory directory = FSDirectory.open(out); DirectoryReader reader = DirectoryReader.open(directory)) {
            IndexSearcher searcher = new IndexSearcher(reader);
            double both = queriesPerSecond(searcher, queries, threads, "title", "body");
            double body = queriesPerSecond(searcher, queries, threads, "body");
            double alone = queriesPerSecond(searcher, queries, 1, "title", "body");
            double[] taken = new double[queries.size()];
            int found = 0;
            for (int at = 0; at < taken.length; at++) {
                long begun = System.nanoTime();
                TopDocs best = searcher.search(query(queries.get(at), "title", "body"), 10);
                taken[at] = (System.nanoTime() - begun) / 1e6;
                for (ScoreDoc hit : best.scoreDocs) {
                    String url = searcher.storedFields().document(hit.doc).get("url");
                    if (url.split("\\?", 2)[0].equals(wanted.get(at))) {
                        found++;
                        break;
                    }
                }
            }
            Arrays.sort(taken);
            System.out.printf(
                "{\"pages\": %d, \"index_seconds\": [%s], \"queries_per_second\": {\"title and body\": %.1f, "
                    + "\"body\": %.1f, \"title and body, one thread\": %.1f}, "
                    + "\"single_ms\": {\"p50\": %.3f, \"p95\": %.3f, \"p99\": %.3f}, \"found_in_10\": %.4f}%n",
                reader.numDocs(), seconds, both, body, alone, percentile(taken, 0.5), percentile(taken, 0.95),
                percentile(taken, 0.99), found / (double) queries.size());
        }
    }
}
