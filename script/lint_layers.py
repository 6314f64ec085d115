#!/usr/bin/env python3
#
# Whether src/ is what doc/design.md says of it; prints each place that is not.
#
#   script/lint_layers.py
#
# An include goes to the same folder or to one further left in the Makefile's FOLDERS;
# of a folder within another (relay/kafka), to its parent's layer too.  A file that ends
# in _internal.h is for its own folder.  A function that a header shows has a caller in
# another file than the one that has its body.  No include is written without its folder.
# The map in doc/design.md names every module in its folder, and no other.
import glob
import os
import re
import sys

os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
folders = re.search(r'^FOLDERS = (.*)$', open('Makefile').read(), re.M).group(1).split()
files = sorted(glob.glob('src/**/*.[ch]', recursive=True))
text = {path: open(path).read() for path in files}
code = {path: re.sub(r'/\*.*?\*/', '', text[path], flags=re.S) for path in files}
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


def has_body(path, name):
	return re.search(r'^%s\([^;{]*\)\n\{' % name, code[path], re.M)


def check_shown(path):
	for match in re.finditer(r'^(?:pg_noreturn )?extern [^;{]*?\b(\w+)\s*\([^;]*\);', code[path], re.M):
		name = match.group(1)
		users = [other for other in files if other != path and re.search(r'\b%s\b' % name, code[other])]
		inline = len(re.findall(r'\b%s\b' % name, code[path])) > 1
		if not inline and all(has_body(user, name) for user in users):
			wrong.append('%s: %s() is called by its own file alone' % (path, name))


def modules(folder):
	inside = [path for path in glob.glob('src/%s/*' % folder) if os.path.isdir(path) or re.search(r'\.(c|h|sql)$', path)]
	return {re.sub(r'(_internal)?\.\w+$', '', os.path.basename(path)) for path in inside}


def check_map(folder, design):
	section = re.search(r'^%s/ .*\n((?:  .*\n)*)' % folder, design, re.M)
	named = set(re.findall(r'^  (\w+) ', section.group(1) if section else '', re.M))
	for name in sorted(modules(folder) ^ named):
		wrong.append('%s/%s is %s doc/design.md' % (folder, name, 'only in' if name in named else 'not in'))


for folder in folders:
	check_map(folder, open('doc/design.md').read())

names = {os.path.basename(path) for path in files if path.endswith('.h')}
for path in files:
	for header in re.findall(r'^#include "([^"]+)"', text[path], re.M):
		if header in names or header.split('/')[0] in folders:
			check_include(path, header)
	if path.endswith('.h'):
		check_shown(path)
print('\n'.join(wrong))
sys.exit(bool(wrong))
