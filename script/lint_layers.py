#!/usr/bin/env python3
#
# Whether src/ is what doc/design.md says of it; prints each place that is not.
#
#   script/lint_layers.py
#
# An include goes to the same folder or to one further left in the Makefile's FOLDERS;
# of a folder within another (relay/kafka), to its parent's layer too.  A file that ends
# in _internal.h is for its own folder.  A function that a header shows has a caller in
# another file.  No include is written without its folder.  The map in doc/design.md
# names every module.
import glob
import os
import re
import sys

os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
folders = re.search(r'^FOLDERS = (.*)$', open('Makefile').read(), re.M).group(1).split()
files = sorted(glob.glob('src/**/*.[ch]', recursive=True))
text = {path: open(path).read() for path in files}
wrong = []


def layer(path):
	parts = path.split('/')
	return folders.index(parts[1]) if len(parts) > 2 else len(folders)


def check_include(path, header):
	target = 'src/' + header
	if target not in text:
		wrong.append('%s: "%s" is not written with its folder, or does not exist' % (path, header))
	elif layer(target) > layer(path):
		wrong.append('%s: includes "%s", which lies further right' % (path, header))
	elif header.endswith('_internal.h') and os.path.dirname(target) != os.path.dirname(path):
		wrong.append('%s: includes "%s", which is for its own folder' % (path, header))


def check_shown(path):
	for match in re.finditer(r'^(?:pg_noreturn )?extern [^;{]*?\b(\w+)\s*\([^;]*\);', text[path], re.M):
		name = match.group(1)
		own = re.sub(r'(_internal)?\.h$', '.c', path)
		users = [other for other in files if other not in (path, own) and re.search(r'\b%s\b' % name, text[other])]
		inline = len(re.findall(r'\b%s\b' % name, text[path])) > 1
		if not users and not inline:
			wrong.append('%s: %s() is called by its own file alone' % (path, name))


known = set(re.findall(r'^  (\w+) ', open('doc/design.md').read(), re.M))
for path in sorted(glob.glob('src/*/*.*')):
	name = re.sub(r'(_internal)?\.\w+$', '', os.path.basename(path))
	if re.search(r'\.(c|h|sql)$', path) and name not in known:
		wrong.append('%s: doc/design.md does not name it' % path)

names = {os.path.basename(path) for path in files if path.endswith('.h')}
for path in files:
	for header in re.findall(r'^#include "([^"]+)"', text[path], re.M):
		if header in names or header.split('/')[0] in folders:
			check_include(path, header)
	if path.endswith('.h'):
		check_shown(path)
print('\n'.join(wrong))
sys.exit(bool(wrong))
